# Teaching where no truth exists: beside each batch of the labelled photographs as many of the others.
iterations = 600
overview = False
seeds = [0, 1, 2]

fusion = dict(type='SPFHead', channels=16)
learned = dict(type='VGGAnalyzer', weights='edges')
edges = dict(type='LearnedEdgeRegions')
without = dict(type='NoRegions')
# Of full weight: SGR alone is too little for the unlabelled. It proved too much for the labelled.
full = dict(type='SPDLoss', loss_weight=1.0)
cascade = dict(spf=fusion, analyzer=learned, spd_loss=full)
# A second network of the same kind on the same images, without any prior.
twin = dict(spf=None, regions=None, sgr_loss=None, spd_loss=full, teacher_input='degraded')
# Wider, trained first, and on varied strengths of the degradation; the student then learns from it
# with the weight that costs nothing in domain.
wide = dict(spf=fusion, teacher=dict(generator=dict(mid_channels=32)), teacher_input='degraded')
guide = dict(stage='teacher', spd_loss=None, sgr_loss=None, **wide)
faint = dict(type='SPDLoss', loss_weight=0.1)
follow = dict(stage='student', sgr_loss=None, **wide)
varied = dict(type='RegionMix', per='image', probability=0.5, strength=(0.3, 1.6))

rows = dict(
    plain=dict(title='plain, on the labelled'),
    oracle=dict(title='plain, the others with their truth', unlabelled='pairs'),
    varied=dict(title='plain, on the labelled in varied strength', augment=[varied]),
    itself=dict(
        title='from the average of itself',
        distill=dict(type='SelfTrainedRestorer'),
        unlabelled='images',
    ),
    twin=dict(title='from an averaged twin', distill=twin, unlabelled='images'),
    cascade_none=dict(
        title='cascade, no regions',
        distill=dict(regions=without, **cascade),
        unlabelled='images',
    ),
    cascade_edges=dict(
        title='cascade, learned edges of the restored image',
        distill=dict(regions=edges, **cascade),
        unlabelled='images',
    ),
    cascade_none_light=dict(
        title='cascade, no regions, SPD of its default weight',
        distill=dict(regions=without, spf=fusion, analyzer=learned),
        unlabelled='images',
    ),
    wide_none=dict(
        title='(wide teacher of varied strength, no regions)',
        distill=dict(regions=without, **guide),
        augment=[varied],
    ),
    taught_none=dict(
        title='from a wide teacher of varied strength, no regions',
        distill=dict(regions=without, spd_loss=faint, **follow),
        start_from='wide_none',
        unlabelled='images',
    ),
    taught_none_heavy=dict(
        title='from a wide teacher of varied strength, no regions, SPD of weight 1',
        distill=dict(regions=without, spd_loss=full, **follow),
        start_from='wide_none',
        unlabelled='images',
    ),
    taught_none_default=dict(
        title='from a wide teacher of varied strength, no regions, SPD of weight 0.3',
        distill=dict(regions=without, **follow),
        start_from='wide_none',
        unlabelled='images',
    ),
    wide_edges=dict(
        title='(wide teacher of varied strength, learned edges)',
        distill=dict(regions=edges, **guide),
        augment=[varied],
    ),
    taught_edges=dict(
        title='from a wide teacher of varied strength, learned edges',
        distill=dict(regions=edges, spd_loss=faint, **follow),
        start_from='wide_edges',
        unlabelled='images',
    ),
)
compare = [
    ('cascade_edges', 'cascade_none'),
    ('twin', 'itself'),
    ('cascade_none', 'twin'),
    ('taught_edges', 'taught_none'),
    ('taught_none', 'varied'),
    ('oracle', 'cascade_edges'),
]
