# MPRNet for Rain13K deraining, as published.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/mprnet_c40.py',
    '../_base_/pipelines/rain13k_patch256.py',
    '../_base_/schedules/mprnet_214k.py',
]

train_dataloader = dict(batch_size=4)
