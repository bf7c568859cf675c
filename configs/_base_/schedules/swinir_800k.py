# SwinIR's published fine-tuning from the weights for sigma 15: half the learning rate, half the length.
_base_ = './swinir_1600k.py'

train_cfg = dict(max_iters=800_000)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = dict(milestones=[400_000, 600_000, 700_000, 750_000, 800_000])
