# MPRNet as published for deblurring (GoPro).
_base_ = './mprnet_c40.py'

model = dict(generator=dict(mid_channels=96, unet_growth=48, full_growth=32))
