# Rain13K with the largest of Restormer's progressive patches; smaller images are mirrored at their
# borders.
_base_ = '../datasets/rain13k.py'

# A list cannot be overridden in part, so this is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 384
    pipeline.insert(3, dict(type='PadToPatch', keys=['img', 'gt'], size=384))
del pipeline
