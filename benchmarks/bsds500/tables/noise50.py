# Denoising, sigma 50: is a distilled student better than a plain one, and is it the prior?
title = 'Gaussian noise of sigma 50, NAFNet of width 16'
plain = '../noise50.py'
iterations = 800
seeds = [0, 1, 2]
in_domain = 'sigma 50'

# Without pretrained weights of VGG at hand, SGR would compare random features.
tight = dict(regions='felzenszwalb')
cached = dict(type='CachedRegions')
shuffled = dict(type='ShuffledRegions', source=cached)
without = dict(type='NoRegions')
distill = dict(sgr_loss=None, spf=dict(type='SPFHead', channels=16))
ceiling = dict(stage='teacher', teacher_input='degraded', spd_loss=None, **distill)
output = dict(type='SPDLoss', loss_weight=1.0, gate=None)

compare = [
    ('tight', 'shuffled'),
    ('tight', 'none'),
    ('tight', 'longer'),
    ('ceiling_tight', 'ceiling_none'),
    ('ceiling_tight', 'ceiling_shuffled'),
]
rows = dict(
    plain=dict(),
    tight=dict(title='tight regions', distill=dict(regions=cached, **distill), **tight),
    none=dict(title='no regions', distill=dict(regions=without, **distill)),
    shuffled=dict(title='shuffled regions', distill=dict(regions=shuffled, **distill), **tight),
    longer=dict(title='plain, equal training compute', as_long_as='tight'),
    human=dict(title='human regions', distill=dict(regions=cached, **distill), regions='regions'),
    twin=dict(
        title='output distillation from a twin',
        distill=dict(
            regions=None, spf=None, sgr_loss=None, teacher_input='degraded', spd_loss=output
        ),
    ),
    ceiling_none=dict(title='ceiling: no regions', distill=dict(regions=without, **ceiling)),
    ceiling_shuffled=dict(
        title='ceiling: shuffled regions', distill=dict(regions=shuffled, **ceiling), **tight
    ),
    ceiling_human=dict(
        title='ceiling: human regions', distill=dict(regions=cached, **ceiling), regions='regions'
    ),
    ceiling_tight=dict(
        title='ceiling: tight regions', distill=dict(regions=cached, **ceiling), **tight
    ),
)
