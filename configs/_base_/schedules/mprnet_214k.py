# MPRNet's published schedule for deraining, 250 epochs of Rain13K in batches of 16: a warm-up of three
# epochs, then down a cosine. The official learning rate changes between epochs, here in each iteration;
# it is the same at the beginning of each epoch. Gradients are not clipped.
epoch = 857
train_cfg = dict(type='IterBasedTrainLoop', max_iters=250 * epoch, val_interval=20_000)

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
        T_max=247 * epoch,
        end=250 * epoch,
        eta_min=1e-6,
    ),
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
del epoch
