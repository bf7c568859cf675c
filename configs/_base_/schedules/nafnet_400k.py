# NAFNet's published schedule of 400k iterations. The official training code clips gradients at 0.01
# outside of its option files, which is easily lost.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=400_000, val_interval=20_000)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3, betas=(0.9, 0.9)),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=400_000, eta_min=1e-7)

auto_scale_lr = dict(enable=False, base_batch_size=64)
