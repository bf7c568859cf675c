# NAFNet of width 32 for Rain13K deraining. NAFNet has no published recipe for it; this one is ours:
# NAFNet's optimiser and schedule on Restormer's first patches, 8xb8 of 128 for 400k iterations,
# as many pixels as the published 8xb4 of 256 for 200k.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/nafnet_c32eb11128mb1db1111.py',
    '../_base_/datasets/rain13k.py',
    '../_base_/schedules/nafnet_400k.py',
]

model = dict(generator=dict(train_size=(1, 3, 128, 128)))
