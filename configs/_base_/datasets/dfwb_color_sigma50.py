# Gaussian colour denoising: DFWB (DIV2K, Flickr2K, WED, BSD) with noise made on the fly, tested in
# RGB on four data sets with the same noise in every run. Neither rounded nor clipped, as published.
sigma = 50

load_clean = [
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    # The channel order goes with the values: MMagic takes an image without one for BGR.
    dict(
        type='CopyValues',
        src_keys=['gt', 'gt_path', 'gt_channel_order', 'gt_color_type'],
        dst_keys=['img', 'img_path', 'img_channel_order', 'img_color_type'],
    ),
]
train_pipeline = [
    *load_clean,
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=128),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='AddGaussianNoise', sigma=sigma, key='img', quantise=False),
    dict(type='PackInputs'),
]
test_pipeline = [
    *load_clean,
    dict(type='AddGaussianNoise', sigma=sigma, key='img', quantise=False, seed=0),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='dfwb', task_name='denoising'),
        data_root='data/dfwb',
        data_prefix=dict(gt='train'),
        recursive=True,  # one folder, or one for each of the four
        pipeline=train_pipeline,
    ),
)
region_folder = 'data/dfwb/regions'  # of the distilled twins

test_names = ['CBSD68', 'Kodak24', 'McMaster', 'Urban100']
test_dataloader = [
    dict(
        num_workers=4,
        persistent_workers=False,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name, task_name='denoising'),
            data_root='data/denoising_gaussian_test',
            data_prefix=dict(gt=name),
            pipeline=test_pipeline,
        ),
    )
    for name in test_names
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='denoise_rgb', prefix=name)] for name in test_names
]

# Validated on CBSD68, as in Restormer's official training.
val_dataloader = test_dataloader[0]
val_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]
