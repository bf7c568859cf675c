# Gaussian noise of sigma 50; out of domain: weaker, stronger, and of another kind.
_base_ = './_base_.py'

noise = dict(type='AddGaussianNoise', key='img', quantise=False)
train_dataloader = dict(
    dataset=dict(pipeline=[*_base_.load, *_base_.augment, dict(sigma=50, **noise), *_base_.pack])
)
tests = {
    'sigma 50': dict(sigma=50, **noise),
    'sigma 25': dict(sigma=25, **noise),
    'sigma 70': dict(sigma=70, **noise),
    'rain': dict(type='AddRain', key='img', quantise=False),
}
test_dataloader = [
    dict(
        _base_.test_loader,
        dataset=dict(
            _base_.test_loader.dataset,
            pipeline=[*_base_.load, dict(degradation, seed=0), *_base_.pack],
        ),
    )
    for degradation in tests.values()
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='denoise_rgb', prefix=name)] for name in tests
]
val_dataloader = dict(
    test_dataloader[0], dataset=dict(test_dataloader[0]['dataset'], indices=_base_.held_out)
)
val_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]
