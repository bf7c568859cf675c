# SwinIR for Gaussian colour denoising, sigma 50, as published: fine-tuned from the weights for sigma 15.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/swinir_s128w8d6e180.py',
    '../_base_/datasets/dfwb_color_sigma50.py',
    '../_base_/schedules/swinir_800k.py',
]

train_dataloader = dict(batch_size=1)
custom_hooks = [*_base_.custom_hooks, _base_.ema_hook]
# Where the training for sigma 15 leaves its averaged weights.
load_from = 'work_dirs/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-color-sigma15/iter_1600000.pth'
