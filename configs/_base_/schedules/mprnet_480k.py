# MPRNet's published schedule for denoising, 80 epochs of SIDD (320 pairs, 300 patches of each) in
# batches of 16: a warm-up of three epochs, then down a cosine that is made for 40 epochs more. The
# official learning rate changes between epochs, here in each iteration; it is the same at the beginning
# of each epoch. Gradients are not clipped.
epoch = 6000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80 * epoch, val_interval=20_000)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, weight_decay=0.0, betas=(0.9, 0.999)),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1 / 3, begin=0, end=2 * epoch + 1),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=3 * epoch,
        T_max=117 * epoch,
        end=80 * epoch,
        eta_min=1e-6,
    ),
]
# Mixtures begin with the sixth epoch. A value for the recipe to refer to, see restormer_300k.py.
mixup_hook = dict(type='MixupHook', alpha=0.6, probability=1.0, per_image=True, begin=5 * epoch)

auto_scale_lr = dict(enable=False, base_batch_size=16)
del epoch
