# Restormer for Gaussian colour denoising, sigma 50, as published but for the progressive patches (see
# the schedule) and the official mixup of images.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/restormer_biasfree.py',
    '../_base_/datasets/dfwb_color_sigma50.py',
    '../_base_/schedules/restormer_300k.py',
]
