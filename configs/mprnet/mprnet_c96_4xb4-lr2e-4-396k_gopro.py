# MPRNet for GoPro deblurring, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/mprnet_c96.py',
    '../_base_/pipelines/gopro_saturation.py',
    '../_base_/schedules/mprnet_396k.py',
]

train_dataloader = dict(batch_size=4)
