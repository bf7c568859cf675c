# The rows of every task: is a distilled student better than a plain one, and is it the prior?
iterations = 600
seeds = [0, 1, 2]

# Without pretrained weights of VGG at hand, SGR would compare random features.
distill = dict(sgr_loss=None, spf=dict(type='SPFHead', channels=16))
cached = dict(type='CachedRegions')
shuffled = dict(type='ShuffledRegions', source=cached)
without = dict(type='NoRegions')
# Felzenszwalb's superpixels of the clean photographs, as training-only use allows.
tight = dict(regions='felzenszwalb')

# A second way: a wider teacher that sees the degraded image, trained first, then a student that
# learns from it more than from the truth.
wide = dict(sgr_loss=None, teacher=dict(generator=dict(mid_channels=32)), teacher_input='degraded')
guide = dict(stage='teacher', spd_loss=None, **wide)
follow = dict(stage='student', spd_loss=dict(type='SPDLoss', loss_weight=10.0, gate=None), **wide)
fusion = distill['spf']
mix = dict(type='RegionMix', probability=0.25, strength=(0.3, 1.6))

rows = dict(
    degraded=dict(title='(degraded image)', trained=False),
    plain=dict(),
    longer=dict(title='plain, equal training compute', as_long_as='tight'),
    tight=dict(title='cascade, tight regions', distill=dict(regions=cached, **distill), **tight),
    none=dict(title='cascade, no regions', distill=dict(regions=without, **distill)),
    shuffled=dict(
        title='cascade, shuffled regions', distill=dict(regions=shuffled, **distill), **tight
    ),
    mse=dict(
        title='plain, squared error',
        changes={'model.pixel_loss': dict(_delete_=True, type='MSELoss', loss_weight=100.0)},
    ),
    crop=dict(title='region crop, tight regions', crop=dict(), **tight),
    crop_of_four=dict(title='region crop of four, tight regions', crop=dict(candidates=4), **tight),
    crop_human=dict(title='region crop, human regions', crop=dict(), regions='regions'),
    crop_misplaced=dict(title='region crop, misplaced regions', crop=dict(by='misplaced'), **tight),
    crop_contrast=dict(title='region crop, by contrast', crop=dict(by='contrast'), **tight),
    crop_mix=dict(title='region crop and mix, tight regions', crop=dict(), augment=[mix], **tight),
    contrast_mix=dict(
        title='crop by contrast, mix of one region',
        crop=dict(by='contrast'),
        augment=[dict(per='image', **mix)],
        **tight,
    ),
    mix=dict(title='region mix, tight regions', augment=[mix], **tight),
    mix_misplaced=dict(
        title='region mix, misplaced regions', augment=[dict(per='misplaced', **mix)], **tight
    ),
    mix_image=dict(title='region mix, one region', augment=[dict(per='image', **mix)]),
    wide_none=dict(
        title='(wide teacher, no regions)', distill=dict(regions=without, spf=fusion, **guide)
    ),
    from_wide_none=dict(
        title='from a wide teacher, no regions',
        distill=dict(regions=without, spf=fusion, **follow),
        start_from='wide_none',
    ),
    wide_tight=dict(
        title='(wide teacher, tight regions)',
        distill=dict(regions=cached, spf=fusion, **guide),
        **tight,
    ),
    from_wide_tight=dict(
        title='from a wide teacher, tight regions',
        distill=dict(regions=cached, spf=fusion, **follow),
        start_from='wide_tight',
        **tight,
    ),
)
compare = [
    ('tight', 'shuffled'),
    ('tight', 'none'),
    ('tight', 'longer'),
    ('crop', 'crop_misplaced'),
    ('crop', 'crop_contrast'),
    ('crop', 'mse'),
    ('crop_of_four', 'crop'),
    ('crop_mix', 'crop'),
    # Out of domain a plain network may do harm: is the result better than what it was given?
    ('crop_mix', 'degraded'),
    ('mix', 'mix_misplaced'),
    ('mix', 'mix_image'),
    ('from_wide_tight', 'from_wide_none'),
]
