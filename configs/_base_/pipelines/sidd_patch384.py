# SIDD with the largest of Restormer's progressive patches, flipped and transposed.
_base_ = '../datasets/sidd_patch128.py'

# A list cannot be overridden in part, so this is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 384
del pipeline
