# NAFNet of width 32 for Gaussian colour denoising. NAFNet has no published recipe for it; this one
# is ours: the blocks published for SIDD, 8xb8 patches of 128 for 400k iterations, as many pixels as
# the published 8xb4 of 256 for 200k.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/nafnet_c32eb2248mb12db2222.py',
    '../_base_/datasets/dfwb_color_sigma50.py',
    '../_base_/schedules/nafnet_400k.py',
]

model = dict(generator=dict(train_size=(1, 3, 128, 128)))
