# What the cascade seems to be worth beside a baseline whose learning rate does not suit it.
_base_ = './_rows_.py'

title = 'Gaussian noise of sigma 50, NAFNet of width 16, at a learning rate of 1e-3'
plain = '../noise50_untuned.py'
in_domain = 'sigma 50'
iterations = 800

rows = dict(
    _delete_=True,
    plain=dict(),
    longer=_base_.rows.longer,
    tight=_base_.rows.tight,
    none=_base_.rows.none,
    shuffled=_base_.rows.shuffled,
)
compare = [('tight', 'shuffled'), ('tight', 'none'), ('tight', 'longer')]
