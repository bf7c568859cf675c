# Restormer's published schedule of 300k iterations: 3e-4 for 92k, then down a cosine to 1e-6.
# Not yet here: the published patch size grows from 128 to 384 while the batch shrinks; this is the
# fixed patch of 128 that the official option files offer as the alternative, with 8 images a GPU.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300_000, val_interval=20_000)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = dict(
    type='CosineAnnealingLR', by_epoch=False, begin=92_000, T_max=208_000, end=300_000, eta_min=1e-6
)

auto_scale_lr = dict(enable=False, base_batch_size=64)
