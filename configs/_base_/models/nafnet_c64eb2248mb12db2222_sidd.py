# NAFNet of width 64 as published for denoising (SIDD).
_base_ = './nafnet_c32eb2248mb12db2222_sidd.py'

model = dict(generator=dict(mid_channels=64))
