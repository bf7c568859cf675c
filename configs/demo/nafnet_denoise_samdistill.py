# The distilled twin of nafnet_denoise.py: same student, seed and number of steps.
_base_ = ['./nafnet_denoise.py', '../_base_/distill/samdistill.py']

model = dict(
    _delete_=True,
    restorer={{_base_.model}},
    # Narrower than the default and an early layer of VGG, to be done in minutes on two cores.
    spf=dict(type='SPFHead', channels=16),
    # The demo itself puts trained weights here: the learned edges, or those of `make demo VGG=...`.
    analyzer=dict(type='VGGAnalyzer', weights='random', layers=('relu1_2',)),
    # So short a training gives the teacher too few steps if it has one in four.
    **dict(_base_.distill, teacher_interval=2),
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RegionDataset',
        dataset={{_base_.train_dataloader.dataset}},
        regions='data/train/regions',
    )
)
optim_wrapper = {{_base_.cascade_optim_wrapper}}
# Which source made the cache is the demo's choice; that it is complete and of these images is not.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='RegionCacheHook'),
    # Which loss moves the student, in the log. To see student, teacher, regions and gate, give the
    # validation data regions, too (RegionDataset), and add dict(type='DistillationPictureHook').
    dict(type='GradientShareHook', interval=100),
]
