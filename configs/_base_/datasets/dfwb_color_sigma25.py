# Gaussian colour denoising with noise of sigma 25.
_base_ = './dfwb_color_sigma50.py'

sigma = 25

# A list cannot be overridden in part, so the noise is set where the base has it: before packing.
loaders = [_base_.train_dataloader, _base_.val_dataloader, *_base_.test_dataloader]
for pipeline in [
    _base_.train_pipeline,
    _base_.test_pipeline,
    *(loader['dataset']['pipeline'] for loader in loaders),
]:
    pipeline[-2]['sigma'] = sigma
del loaders, pipeline
