# Restormer's published schedule of 300k iterations: 3e-4 for 92k, then down a cosine to 1e-6, while
# the patch grows and the batch shrinks. `batch_sizes` are images per GPU, of 8 GPUs; the data pipeline
# has to cut the largest patch. The official training code clips gradients at 0.01 outside of its
# option files, which is easily lost.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300_000, val_interval=20_000)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = dict(
    type='CosineAnnealingLR', by_epoch=False, begin=92_000, T_max=208_000, end=300_000, eta_min=1e-6
)
# Bases of one configuration must not share keys, so hooks are values for the recipe to refer to.
progressive_patch_hook = dict(
    type='ProgressivePatchHook',
    iters=[92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
    patch_sizes=[128, 160, 192, 256, 320, 384],
    batch_sizes=[8, 5, 4, 2, 1, 1],
)
mixup_hook = dict(type='MixupHook', alpha=1.2, probability=0.5)  # for denoising alone

auto_scale_lr = dict(enable=False, base_batch_size=64)
