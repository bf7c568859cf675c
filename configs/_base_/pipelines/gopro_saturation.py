# GoPro as MPRNet was trained: a third of the pairs are made up to 20 % more or less saturated.
_base_ = '../datasets/gopro.py'

# A list cannot be overridden in part, so this is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    jitter = dict(type='ColorJitter', keys=['img', 'gt'], saturation=0.2)
    # Last, since MMagic's jitter returns arrays that its flips cannot write to.
    pipeline.insert(-1, dict(type='RandomApply', prob=1 / 3, transforms=[jitter]))
del pipeline, jitter
