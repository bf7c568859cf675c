# Your own pairs: two folders of images with the same names, degraded and true. Crops of both are
# trained on; one set is validated and tested on, whole images in RGB.
#
#     data/pairs/train/input   data/pairs/train/target      (and train/regions, for a distilled twin)
#     data/pairs/test/input    data/pairs/test/target
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
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='pairs', task_name='restoration'),
        data_root='data/pairs/train',
        data_prefix=dict(img='input', gt='target'),
        # Sub-folders are searched as well; both sides must have the same ones.
        recursive=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='pairs', task_name='restoration'),
        data_root='data/pairs/test',
        data_prefix=dict(img='input', gt='target'),
        recursive=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# Other ways of measuring, for numbers that papers can be compared with: docs/recipes.md.
val_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]
test_evaluator = val_evaluator
