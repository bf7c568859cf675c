# Restormer for Rain13K deraining, as published but for the progressive patches (see the schedule).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/restormer_withbias.py',
    '../_base_/datasets/rain13k.py',
    '../_base_/schedules/restormer_300k.py',
]
