# What all benchmarks on BSDS500 share: a NAFNet small enough for a CPU, its data, its schedule.
# Data: benchmarks/prepare_bsds500.py; train/ has 200 photographs, the tests are the first 30 of test/,
# and whatever is chosen is chosen on the ten that follow these.
_base_ = '../../configs/_base_/default_runtime.py'

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

load = [
    # Kept in memory after the first reading: decoding would cost as much as a training step.
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb', use_cache=True),
    # The channel order goes with the values: MMagic takes an image without one for BGR.
    dict(
        type='CopyValues',
        src_keys=['gt', 'gt_channel_order', 'gt_color_type'],
        dst_keys=['img', 'img_channel_order', 'img_color_type'],
    ),
]
augment = [
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=64),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
]
pack = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='bsds500', task_name='restoration'),
        data_root='data/bsds500/train',
        data_prefix=dict(gt='images'),
        pipeline=[],  # the task's
    ),
)
test_loader = dict(
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='bsds500', task_name='restoration'),
        data_root='data/bsds500/test',
        data_prefix=dict(gt='images'),
        indices=30,
        pipeline=[],  # the task's
    ),
)

held_out = [*range(30, 40)]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    # See tables/rates_*.py. At 1e-3, as published for long
    # trainings, so few steps end far from what they can reach, and whatever adds gradient 'helps'.
    optimizer=dict(type='AdamW', lr=8e-3, weight_decay=1e-3, betas=(0.9, 0.9)),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=2000, eta_min=1e-7)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        _delete_=True, type='CheckpointHook', interval=500, by_epoch=False, max_keep_ckpts=1
    ),
)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='ChannelsLastHook'),
    dict(type='CompileHook'),
    dict(type='CollapseHook'),
]
