_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, NAFNet of width 16'
plain = '../noise50.py'
in_domain = 'sigma 50'

# Ablation: each of these differs from the row of its first half in what its title says.
tight = _base_.tight
cached = _base_.cached
spd = _base_.spd
sgr = _base_.sgr
by_region = dict(type='SPDLoss', gate='region')
gated = dict(type='SPDLoss', loss_weight=1.0)
by_pixel = dict(type='SGRLoss', form='pixel_to_prototype')
random = dict(type='VGGAnalyzer', weights='random')
shallow = dict(type='VGGAnalyzer', weights='edges', layers=('relu1_2', 'relu2_2'))
full = dict(scale=1.0, **_base_.learned)
deep = dict(type='VGGAnalyzer', weights='edges', layers=('relu3_3', 'relu4_3'))
# Another learning rate and another batch: is the default as harmless there?
slow = {'optim_wrapper.optimizer.lr': 4e-3}
fast = {'optim_wrapper.optimizer.lr': 1.6e-2}
small = {'train_dataloader.batch_size': 4}
half = dict(sgr_loss=dict(type='SGRLoss', loss_weight=0.01), **_base_.default)

rows = dict(
    plain_slow=dict(title='plain, half the learning rate', changes=slow),
    fourth_slow=dict(
        title='SPD and SGR in every fourth step, half the learning rate',
        distill=_base_.default,
        changes=slow,
        **tight,
    ),
    plain_fast=dict(title='plain, twice the learning rate', changes=fast),
    fourth_fast=dict(
        title='SPD and SGR in every fourth step, twice the learning rate',
        distill=_base_.default,
        changes=fast,
        **tight,
    ),
    half_fast=dict(
        title='SPD and SGR of half its weight in every fourth step, twice the learning rate',
        distill=half,
        changes=fast,
        **tight,
    ),
    half_fourth=dict(
        title='SPD and SGR of half its weight in every fourth step', distill=half, **tight
    ),
    plain_small=dict(title='plain, half the batch', changes=small),
    fourth_small=dict(
        title='SPD and SGR in every fourth step, half the batch',
        distill=_base_.default,
        changes=small,
        **tight,
    ),
    spd_heavy=dict(
        title='SPD of weight 1', distill=dict(regions=cached, spd_loss=gated, **spd), **tight
    ),
    spd_by_region=dict(
        title='SPD gated by region',
        distill=dict(regions=cached, spd_loss=by_region, **spd),
        **tight,
    ),
    spd_slow=dict(
        title='SPD, average of decay 0.98 from the start',
        distill=dict(regions=cached, teacher_momentum=0.02, **spd),
        **tight,
    ),
    sgr_weak=dict(
        title='SGR of weight 0.005',
        distill=dict(regions=cached, sgr_loss=dict(type='SGRLoss', loss_weight=0.005), **sgr),
        **tight,
    ),
    sgr_strong=dict(
        title='SGR of weight 0.05',
        distill=dict(regions=cached, sgr_loss=dict(type='SGRLoss', loss_weight=0.05), **sgr),
        **tight,
    ),
    sgr_heavy=dict(
        title='SGR of weight 0.15',
        distill=dict(regions=cached, sgr_loss=dict(type='SGRLoss', loss_weight=0.15), **sgr),
        **tight,
    ),
    sgr_by_pixel=dict(
        title='SGR of pixels to regions',
        distill=dict(regions=cached, sgr_loss=by_pixel, **sgr),
        **tight,
    ),
    sgr_random=dict(
        title='SGR, random features',
        distill={**sgr, 'regions': cached, 'analyzer': random},
        **tight,
    ),
    sgr_shallow=dict(
        title='SGR of earlier layers',
        distill={**sgr, 'regions': cached, 'analyzer': shallow},
        **tight,
    ),
    both_seldom=dict(
        title='SPD and SGR in every second step',
        distill=dict(
            regions=cached, spf=_base_.fusion, analyzer=_base_.learned, teacher_interval=2
        ),
        **tight,
    ),
    sgr_deep=dict(
        title='SGR of later layers', distill={**sgr, 'regions': cached, 'analyzer': deep}, **tight
    ),
    both_full=dict(
        title='SPD and SGR at full resolution, tight regions',
        distill=dict(regions=cached, spf=_base_.fusion, analyzer=full),
        **tight,
    ),
    sgr_full=dict(
        title='SGR at full resolution, tight regions',
        distill={**sgr, 'regions': cached, 'analyzer': full},
        **tight,
    ),
    sgr_quarter=dict(
        title='SGR at a quarter of the resolution',
        distill={
            **sgr,
            'regions': cached,
            'analyzer': dict(type='VGGAnalyzer', weights='edges', scale=0.25),
        },
        **tight,
    ),
    features_strong=dict(
        title='features of the truth of weight 0.2',
        distill=dict(
            regions=_base_.without, sgr_loss=dict(type='FeatureLoss', loss_weight=0.2), **sgr
        ),
    ),
)
compare = [
    *_base_.compare,
    ('fourth_slow', 'plain_slow'),
    ('fourth_fast', 'plain_fast'),
    ('half_fast', 'plain_fast'),
    ('half_fast', 'fourth_fast'),
    ('fourth_small', 'plain_small'),
    ('both', 'both_full'),
    ('sgr', 'sgr_full'),
    ('sgr', 'sgr_random'),
    ('sgr_heavy', 'features_strong'),
]
