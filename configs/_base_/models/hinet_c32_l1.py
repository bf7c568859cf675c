# HINet 0.5x as published for denoising (SIDD).
_base_ = './hinet_c64_l1.py'

model = dict(generator=dict(mid_channels=32))
