# What every configuration shares: how a run is logged, saved, seeded and shown.
default_scope = 'mmagic'

# Importing the package registers its parts and makes MMagic usable on current versions of its
# dependencies, so plain configurations need it as well.
custom_imports = dict(imports=['mmsamdistill'], allow_failed_imports=False)

# Of one or of several data sets, as MMagic wants it.
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=5000,
        by_epoch=False,
        max_keep_ckpts=3,
        save_best='PSNR',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    # Every 100th image: the data sets have thousands.
    dict(type='BasicVisualizationHook', interval=dict(val=100, test=100)),
    dict(type='RandomStateHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=1),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=10, diff_rank_seed=True)

log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=False)

load_from = None
resume = False

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='ConcatImageVisualizer',
    vis_backends=vis_backends,
    fn_key='gt_path',
    img_keys=['input', 'pred_img', 'gt_img'],
    bgr2rgb=True,  # MMagic hands results over in BGR, whatever the network sees
)
