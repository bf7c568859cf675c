# SwinIR's published schedule of 1.6M iterations, without a clip of the gradient.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_600_000, val_interval=20_000)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, weight_decay=0.0, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[800_000, 1_200_000, 1_400_000, 1_500_000, 1_600_000],
    gamma=0.5,
)
# Bases of one configuration must not share keys, so hooks are values for the recipe to refer to. What
# is validated and kept are the averaged weights, as in the official code.
ema_hook = dict(type='EMAHook', momentum=0.001)

auto_scale_lr = dict(enable=False, base_batch_size=8)
