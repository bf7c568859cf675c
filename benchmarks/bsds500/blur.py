# Horizontal motion blur of 5 to 15 pixels; out of domain: longer, aslant, and along curved paths.
# Of unknown direction it is beyond so small a network: after 600 steps 0.1 dB above the blurred image.
_base_ = './_base_.py'

blur = dict(type='MotionBlur', key='img', quantise=False)
horizontal = dict(angle=0, **blur)
# Blurred with a margin: what the camera saw beyond the edge of a patch is part of its blur.
wide_patch = dict(type='PairedRandomCrop', gt_patch_size=96)
patch = dict(type='Crop', keys=['img', 'gt'], crop_size=(64, 64), random_crop=False)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.load,
            _base_.augment[0],
            wide_patch,
            *_base_.augment[2:],
            dict(length=(5, 15), **horizontal),
            patch,
            *_base_.pack,
        ]
    )
)
tests = {
    'blur': dict(length=(5, 15), **horizontal),
    'longer': dict(length=(17, 25), **horizontal),
    'slanted': dict(length=(5, 15), angle=20, **blur),
    'curved': dict(kind='trajectory', length=(5, 15), **horizontal),
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
