# Restormer for SIDD denoising, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/restormer_biasfree.py',
    '../_base_/pipelines/sidd_patch384.py',
    '../_base_/schedules/restormer_300k.py',
]

custom_hooks = [*_base_.custom_hooks, _base_.progressive_patch_hook, _base_.mixup_hook]
