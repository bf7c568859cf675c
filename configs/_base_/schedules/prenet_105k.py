# PReNet's published optimiser and decays (after 30, 50 and 80 % of the training), for about as many
# iterations as the published 100 epochs of Rain100H's 1254 pairs take. Gradients are not clipped.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=105_000, val_interval=5_000)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=0.0, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[31_500, 52_500, 84_000], gamma=0.2
)

auto_scale_lr = dict(enable=False, base_batch_size=18)
