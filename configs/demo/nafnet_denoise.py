# The plain restorer of `make demo`: a small NAFNet that removes Gaussian noise of sigma 50.
_base_ = '../_base_/default_runtime.py'

model = dict(
    type='BaseEditModel',
    generator=dict(
        type='NAFNet',
        img_channels=3,
        mid_channels=16,
        enc_blk_nums=[1, 1],
        middle_blk_num=1,
        dec_blk_nums=[1, 1],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
)

train_pipeline = [
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    # The channel order goes with the values: MMagic takes an image without one for BGR.
    dict(
        type='CopyValues',
        src_keys=['gt', 'gt_channel_order', 'gt_color_type'],
        dst_keys=['img', 'img_channel_order', 'img_color_type'],
    ),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=64),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='AddGaussianNoise', sigma=50, key='img'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='photographs', task_name='denoising'),
        data_root='data/train',
        data_prefix=dict(gt='gt'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='photographs', task_name='denoising'),
        data_root='data/test',
        data_prefix=dict(gt='gt', img='noisy'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=300)
optim_wrapper = dict(
    type='OptimWrapper',
    # Higher than published: 600 steps at 1e-3 would end far from what they can reach.
    optimizer=dict(type='AdamW', lr=5e-3, weight_decay=1e-3, betas=(0.9, 0.9)),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=600, eta_min=1e-7)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=300, by_epoch=False, max_keep_ckpts=2),
)
randomness = dict(seed=0)
