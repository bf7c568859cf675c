# Rain13K deraining, tested on its five test sets on the Y channel of whole images.
load_pair = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
]
train_pipeline = [
    *load_pair,
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=128),
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
        metainfo=dict(dataset_type='rain13k', task_name='deraining'),
        data_root='data/rain13k/train',
        data_prefix=dict(gt='target', img='input'),
        pipeline=train_pipeline,
    ),
)

test_names = ['Test100', 'Rain100H', 'Rain100L', 'Test2800', 'Test1200']
test_dataloader = [
    dict(
        num_workers=4,
        persistent_workers=False,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name, task_name='deraining'),
            data_root=f'data/rain13k/test/{name}',
            data_prefix=dict(gt='target', img='input'),
            pipeline=test_pipeline,
        ),
    )
    for name in test_names
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='rain_y_matlab', prefix=name)] for name in test_names
]

# Validated on Rain100L, as in Restormer's official training.
val_dataloader = test_dataloader[2]
val_evaluator = [dict(type='RestorationMetric', protocol='rain_y_matlab')]
