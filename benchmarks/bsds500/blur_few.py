# Horizontal motion blur with a ground truth for half of the photographs alone; the other half, blurred
# aslant, waits for the rows that use it.
_base_ = './blur.py'

train_dataloader = dict(dataset=dict(indices=100))
slanted = dict(length=(5, 15), angle=20, **_base_.blur)
unlabelled = dict(
    _base_.train_dataloader.dataset,
    indices=[*range(100, 200)],
    pipeline=[
        *_base_.load,
        _base_.augment[0],
        _base_.wide_patch,
        *_base_.augment[2:],
        slanted,
        _base_.patch,
        *_base_.pack,
    ],
)
