# GoPro motion deblurring: random crops out of whole frames; tested on GoPro, HIDE and RealBlur, on
# whole images in RGB.
load_pair = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
]
train_pipeline = [
    *load_pair,
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=256),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [*load_pair, dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='gopro', task_name='deblurring'),
        data_root='data/gopro/train',
        data_prefix=dict(gt='sharp', img='blur'),
        pipeline=train_pipeline,
    ),
)

# By name: folder, and its sub-folders of sharp and of blurred images. The papers align their results
# to the truth of RealBlur before they measure; here nothing is aligned, so that these numbers are
# lower, and their name says so.
test_sets = {
    'GoPro': ('data/gopro/test', 'sharp', 'blur'),
    'HIDE': ('data/HIDE', 'target', 'input'),
    'RealBlur_J_unaligned': ('data/RealBlur_J', 'target', 'input'),
    'RealBlur_R_unaligned': ('data/RealBlur_R', 'target', 'input'),
}
test_dataloader = [
    dict(
        num_workers=4,
        persistent_workers=False,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name, task_name='deblurring'),
            data_root=root,
            data_prefix=dict(gt=gt, img=img),
            pipeline=test_pipeline,
        ),
    )
    for name, (root, gt, img) in test_sets.items()
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='gopro_rgb', prefix=name)] for name in test_sets
]

# Validated on GoPro, as in NAFNet's official training.
val_dataloader = test_dataloader[0]
val_evaluator = [dict(type='RestorationMetric', protocol='gopro_rgb')]
