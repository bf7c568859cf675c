# Restormer for GoPro deblurring, as published but for the progressive patches (see the schedule).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/restormer_withbias.py',
    '../_base_/datasets/gopro_patch128.py',
    '../_base_/schedules/restormer_300k.py',
]
