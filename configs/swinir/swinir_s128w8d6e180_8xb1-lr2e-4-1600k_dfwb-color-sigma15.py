# SwinIR for Gaussian colour denoising, sigma 15, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/swinir_s128w8d6e180.py',
    '../_base_/datasets/dfwb_color_sigma15.py',
    '../_base_/schedules/swinir_1600k.py',
]

train_dataloader = dict(batch_size=1)
custom_hooks = [*_base_.custom_hooks, _base_.ema_hook]
