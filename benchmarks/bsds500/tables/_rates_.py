# Which learning rate suits the plain network? Choose by the column `held out`: photographs that are
# neither trained nor tested on.
iterations = 600
overview = False
seeds = [0, 1]
rate = 'optim_wrapper.optimizer.lr'

rows = dict(
    plain=dict(title='as configured'),
    slow=dict(title='2e-3', changes={rate: 2e-3}),
    medium=dict(title='4e-3', changes={rate: 4e-3}),
    fast=dict(title='8e-3', changes={rate: 8e-3}),
    faster=dict(title='1.6e-2', changes={rate: 1.6e-2}),
)
