# Gaussian noise of sigma 50 with a ground truth for half of the photographs alone; the other half, noisy
# or rainy as the training does not know it, waits for the rows that use it.
_base_ = './noise50.py'

train_dataloader = dict(dataset=dict(indices=100))
noise = _base_.noise
foreign = dict(
    type='RandomChoice',
    transforms=[
        [dict(sigma=25, **noise)],
        [dict(sigma=70, **noise)],
        [dict(type='AddRain', key='img', quantise=False)],
    ],
)
unlabelled = dict(
    _base_.train_dataloader.dataset,
    indices=[*range(100, 200)],
    pipeline=[*_base_.load, *_base_.augment, foreign, *_base_.pack],
)
