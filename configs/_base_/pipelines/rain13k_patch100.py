# Rain13K with PReNet's patches of 100, neither flipped nor transposed.
_base_ = '../datasets/rain13k.py'

# A list cannot be overridden in part, so this is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 100
    del pipeline[4:7]
del pipeline
