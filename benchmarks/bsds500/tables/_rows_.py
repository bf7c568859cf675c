# The rows of every task: is a distilled student better than a plain one, by which part, and is it
# the prior?
iterations = 600
seeds = [0, 1, 2]

# Regions of the clean photographs, as training-only use allows: Felzenszwalb's superpixels (tight),
# learned edges, a person's segmentation (regions); and two controls without information.
cached = dict(type='CachedRegions')
shuffled = dict(type='ShuffledRegions', source=cached)
without = dict(type='NoRegions')
tight = dict(regions='felzenszwalb')
edges = dict(regions='edges')
human = dict(regions='regions')

# One half of the method alone, and both. The analyser is the trunk of a VGG-16 trained for edges.
fusion = dict(type='SPFHead', channels=16)
learned = dict(type='VGGAnalyzer', weights='edges')
both = dict(regions=cached, spf=fusion, analyzer=learned)
default = dict(teacher_interval=4, **both)  # of the recipes
spd = dict(spf=fusion, sgr_loss=None)
sgr = dict(spf=fusion, spd_loss=None, analyzer=learned)
# Without the average: the target is the teacher of the very step.
jittery = dict(teacher_momentum=None, **spd)
ungated = dict(type='SPDLoss', loss_weight=1.0, gate=None)

# A second way: a wider teacher that sees the degraded image, trained first, then a student that
# learns from it more than from the truth.
wide = dict(
    spf=fusion,
    sgr_loss=None,
    teacher=dict(generator=dict(mid_channels=32)),
    teacher_input='degraded',
)
guide = dict(stage='teacher', spd_loss=None, **wide)
follow = dict(stage='student', spd_loss=dict(type='SPDLoss', loss_weight=10.0, gate=None), **wide)
mix = dict(type='RegionMix', probability=0.25, strength=(0.3, 1.6))

rows = dict(
    degraded=dict(title='(degraded image)', trained=False),
    plain=dict(),
    longer=dict(title='plain, 1.75 times the steps', length=1.75),
    both=dict(
        title='SPD and SGR in every step, tight regions',
        distill=both,
        **tight,
    ),
    both_second=dict(
        title='SPD and SGR in every second step, tight regions',
        distill=dict(teacher_interval=2, **both),
        **tight,
    ),
    both_fourth=dict(
        title='SPD and SGR in every fourth step, tight regions',
        distill=default,
        **tight,
    ),
    both_edges=dict(
        title='SPD and SGR, learned edges',
        distill=both,
        **edges,
    ),
    spd=dict(title='SPD, tight regions', distill=dict(regions=cached, **spd), **tight),
    spd_edges=dict(title='SPD, learned edges', distill=dict(regions=cached, **spd), **edges),
    spd_none=dict(title='SPD, no regions', distill=dict(regions=without, **spd)),
    spd_shuffled=dict(
        title='SPD, shuffled regions', distill=dict(regions=shuffled, **spd), **tight
    ),
    spd_ungated=dict(
        title='SPD of weight 1, no gate',
        distill=dict(regions=cached, spd_loss=ungated, **spd),
        **tight,
    ),
    tight=dict(title='SPD, teacher not averaged', distill=dict(regions=cached, **jittery), **tight),
    sgr=dict(title='SGR, tight regions', distill=dict(regions=cached, **sgr), **tight),
    sgr_edges=dict(title='SGR, learned edges', distill=dict(regions=cached, **sgr), **edges),
    sgr_human=dict(title='SGR, human regions', distill=dict(regions=cached, **sgr), **human),
    sgr_shuffled=dict(
        title='SGR, shuffled regions', distill=dict(regions=shuffled, **sgr), **tight
    ),
    sgr_truth=dict(
        title="SGR, the truth's own relations",
        distill=dict(regions=cached, sgr_loss=dict(type='SGRLoss', target='truth'), **sgr),
        **tight,
    ),
    features=dict(
        title='features of the truth, no relations',
        distill=dict(regions=without, sgr_loss=dict(type='FeatureLoss'), **sgr),
    ),
    mse=dict(
        title='plain, squared error',
        changes={'model.pixel_loss': dict(_delete_=True, type='MSELoss', loss_weight=100.0)},
    ),
    crop=dict(title='region crop, tight regions', crop=dict(), **tight),
    crop_of_four=dict(title='region crop of four, tight regions', crop=dict(candidates=4), **tight),
    crop_edges=dict(title='region crop, learned edges', crop=dict(), **edges),
    crop_fourth=dict(
        title='region crop, SPD and SGR in every fourth step, tight regions',
        crop=dict(),
        distill=default,
        **tight,
    ),
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
    wide_tight=dict(
        title='(wide teacher, tight regions)', distill=dict(regions=cached, **guide), **tight
    ),
    from_wide_tight=dict(
        title='from a wide teacher, tight regions',
        distill=dict(regions=cached, **follow),
        start_from='wide_tight',
        **tight,
    ),
    wide_none=dict(title='(wide teacher, no regions)', distill=dict(regions=without, **guide)),
    from_wide_none=dict(
        title='from a wide teacher, no regions',
        distill=dict(regions=without, **follow),
        start_from='wide_none',
    ),
)
compare = [
    ('both_fourth', 'longer'),
    ('both_second', 'both'),
    ('both_fourth', 'both'),
    ('both_edges', 'both'),
    ('spd', 'spd_shuffled'),
    ('spd', 'spd_none'),
    ('spd', 'tight'),
    ('sgr', 'sgr_shuffled'),
    ('sgr', 'sgr_truth'),
    ('sgr', 'features'),
    ('sgr_edges', 'sgr'),
    ('crop', 'crop_misplaced'),
    ('crop', 'crop_contrast'),
    ('crop', 'mse'),
    ('crop_of_four', 'crop'),
    ('crop_edges', 'crop'),
    ('crop_fourth', 'crop'),
    ('crop_fourth', 'longer'),
    ('crop_mix', 'crop'),
    # Out of domain a plain network may do harm: is the result better than what it was given?
    ('crop_mix', 'degraded'),
    ('mix', 'mix_misplaced'),
    ('mix', 'mix_image'),
    ('from_wide_tight', 'from_wide_none'),
]
