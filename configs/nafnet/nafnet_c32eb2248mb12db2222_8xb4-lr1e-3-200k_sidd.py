# NAFNet of width 32 for SIDD denoising, as published: no weight decay.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/nafnet_c32eb2248mb12db2222_sidd.py',
    '../_base_/datasets/sidd.py',
    '../_base_/schedules/nafnet_200k.py',
]

train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(weight_decay=0.0))
