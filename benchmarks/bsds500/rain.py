# Rain streaks; out of domain: heavier, blown aslant, and another degradation altogether.
_base_ = './_base_.py'

rain = dict(type='AddRain', key='img', quantise=False)
train_dataloader = dict(dataset=dict(pipeline=[*_base_.load, *_base_.augment, rain, *_base_.pack]))
tests = {
    'rain': rain,
    'heavier': dict(density=0.002, length=(30, 60), brightness=(60, 150), **rain),
    'slanted': dict(angle=(30, 60), **rain),
    'sigma 25': dict(type='AddGaussianNoise', key='img', sigma=25, quantise=False),
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
