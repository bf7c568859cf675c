# SIDD denoising of smartphone photographs, in RGB: crops of 512 pixels of the 320 pairs of SIDD-Medium
# for training, the benchmark's 1280 validation blocks for validation and test. As NAFNet was trained:
# patches of 256, neither flipped nor transposed.
load_pair = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
]
train_pipeline = [
    *load_pair,
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=256),
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
        metainfo=dict(dataset_type='sidd', task_name='denoising'),
        data_root='data/SIDD/train',
        data_prefix=dict(gt='gt_crops', img='input_crops'),
        pipeline=train_pipeline,
    ),
)

# Folders and names are those that MMagic's script exports from the benchmark's two .mat files.
val_dataloader = dict(
    num_workers=4,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='SIDD', task_name='denoising'),
        data_root='data/SIDD/val',
        data_prefix=dict(gt='gt', img='noisy'),
        filename_tmpl=dict(gt='{}_GT', img='{}_NOISY'),
        pipeline=test_pipeline,
    ),
)
val_evaluator = [dict(type='RestorationMetric', protocol='sidd_rgb')]

test_dataloader = [val_dataloader]
test_evaluator = [[dict(type='RestorationMetric', protocol='sidd_rgb', prefix='SIDD')]]
