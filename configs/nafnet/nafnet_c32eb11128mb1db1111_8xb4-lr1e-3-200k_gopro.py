# NAFNet of width 32 for GoPro deblurring, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/nafnet_c32eb11128mb1db1111.py',
    '../_base_/datasets/gopro.py',
    '../_base_/schedules/nafnet_200k.py',
]

train_dataloader = dict(batch_size=4)
