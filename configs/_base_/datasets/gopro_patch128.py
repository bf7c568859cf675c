# GoPro motion deblurring with Restormer's smaller patches.
_base_ = './gopro.py'

# A list cannot be overridden in part, so the patch is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 128
del pipeline
