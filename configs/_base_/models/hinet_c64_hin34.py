# HINet of width 64 as published for deblurring (GoPro, REDS): only the two coarsest levels
# normalise half of their channels.
_base_ = './hinet_c64.py'

model = dict(generator=dict(hin_levels=(3, 4)))
