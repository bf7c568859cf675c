# HINet's published schedule for deraining: a warm-up of 10k iterations before. The official code puts
# the warm-up in place of the cosine, here the two are multiplied: within 0.2 % of one another.
_base_ = './hinet_400k.py'

param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1e-4, begin=0, end=10_000),
    _base_.param_scheduler,
]
