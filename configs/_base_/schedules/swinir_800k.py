# SwinIR's published fine-tuning from the weights for sigma 15: half the learning rate, half the length.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=800_000, val_interval=20_000)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=0.0, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[400_000, 600_000, 700_000, 750_000, 800_000],
    gamma=0.5,
)
# Bases of one configuration must not share keys, so hooks are values for the recipe to refer to. What
# is validated and kept are the averaged weights, as in the official code.
ema_hook = dict(type='EMAHook', momentum=0.001)

auto_scale_lr = dict(enable=False, base_batch_size=8)
