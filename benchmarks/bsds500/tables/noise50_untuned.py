# What the cascade seems to be worth beside a baseline whose learning rate does not suit it; with SPD
# as it was before its target was averaged.
_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, NAFNet of width 16, at a learning rate of 1e-3'
plain = '../noise50_untuned.py'
in_domain = 'sigma 50'
iterations = 800

jittery = _base_.jittery
rows = dict(
    _delete_=True,
    plain=dict(),
    much_longer=dict(
        title='plain, 2.5 times the steps',
        length=2.5,
        note='The published runs took as long as SPD did, measured: 2.4 to 2.7 times the steps.',
    ),
    tight=_base_.rows.tight,
    none=dict(title='- no regions', distill=dict(regions=_base_.without, **jittery)),
    shuffled=dict(
        title='- shuffled regions',
        distill=dict(regions=_base_.shuffled, **jittery),
        **_base_.tight,
    ),
)
compare = [('tight', 'shuffled'), ('tight', 'none'), ('tight', 'much_longer')]
