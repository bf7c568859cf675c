_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, NAFNet of width 16'
plain = '../noise50.py'
in_domain = 'sigma 50'

# Ablation: each of these differs from the cascade with tight regions in what its title says.
tight = _base_.tight
cascade = dict(regions=_base_.cached, **_base_.distill)
heavy = dict(type='SPDLoss', loss_weight=1.0)
by_region = dict(type='SPDLoss', gate='region')
ungated = dict(type='SPDLoss', loss_weight=1.0, gate=None)
l1 = dict(type='SPDLoss', loss_weight=1.0, distance='l1', gate=None)
layers = ('generator.middle_blks',)
features = dict(type='SPDLoss', feature_layers=layers, feature_weight=1.0)

rows = dict(
    human=dict(title='- human regions', distill=cascade, regions='regions'),
    restored=dict(
        title='- superpixels of the restored image',
        distill=dict(regions=dict(type='SuperpixelRegions'), **_base_.distill),
    ),
    heavy=dict(title='- SPD of weight 1', distill=dict(spd_loss=heavy, **cascade), **tight),
    by_region=dict(
        title='- SPD gated by region', distill=dict(spd_loss=by_region, **cascade), **tight
    ),
    ungated=dict(
        title='- SPD of weight 1, no gate', distill=dict(spd_loss=ungated, **cascade), **tight
    ),
    l1=dict(title='- SPD of weight 1, no gate, L1', distill=dict(spd_loss=l1, **cascade), **tight),
    features=dict(
        title='- SPD of features as well', distill=dict(spd_loss=features, **cascade), **tight
    ),
    attached=dict(
        title='- no SPD, gradient from the teacher',
        distill=dict(detach_cascade=False, spd_loss=None, **cascade),
        **tight,
    ),
)
ablation = ('human', 'restored', 'heavy', 'by_region', 'ungated', 'l1', 'features', 'attached')
compare = [
    *_base_.compare,
    *[(name, 'tight') for name in ablation],
]
