# PReNet for Rain13K deraining. Its published trainings are on Rain100H, Rain100L and Rain1400, each
# tested on its own; this one is ours: their patch, batch, optimiser, decays and loss on Rain13K.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/prenet.py',
    '../_base_/pipelines/rain13k_patch100.py',
    '../_base_/schedules/prenet_105k.py',
]

train_dataloader = dict(batch_size=18)
