# Blind colour denoising: each training image has noise of a sigma of its own, uniform in 0..50; tested
# on four data sets with noise of three sigmas each. Patches as for one sigma.
_base_ = './dfwb_color_sigma50_patch384.py'

for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[-2]['sigma'] = [0, 50]
del pipeline

test_sigmas = [15, 25, 50]
test_dataloader = [
    dict(
        num_workers=4,
        persistent_workers=False,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=f'{name}_sigma{sigma}', task_name='denoising'),
            data_root='data/denoising_gaussian_test',
            data_prefix=dict(gt=name),
            pipeline=[
                *_base_.load_clean,
                dict(type='AddGaussianNoise', sigma=sigma, key='img', quantise=False, seed=0),
                dict(type='PackInputs'),
            ],
        ),
    )
    for sigma in test_sigmas
    for name in _base_.test_names
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='denoise_rgb', prefix=f'{name}_sigma{sigma}')]
    for sigma in test_sigmas
    for name in _base_.test_names
]

# Validated on CBSD68 with sigma 25, as in Restormer's official training.
val_dataloader = test_dataloader[4]
