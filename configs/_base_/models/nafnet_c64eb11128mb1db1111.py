# NAFNet of width 64 as published for deblurring (GoPro).
_base_ = './nafnet_c32eb11128mb1db1111.py'

model = dict(generator=dict(mid_channels=64))
