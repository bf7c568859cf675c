# MPRNet for SIDD denoising, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/mprnet_c80.py',
    '../_base_/datasets/sidd_patch128.py',
    '../_base_/schedules/mprnet_480k.py',
]

train_dataloader = dict(batch_size=4)
custom_hooks = [*_base_.custom_hooks, _base_.mixup_hook]
