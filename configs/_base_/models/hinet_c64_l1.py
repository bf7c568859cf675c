# HINet of width 64 as published for denoising (SIDD).
_base_ = './hinet_c64.py'

model = dict(pixel_loss=dict(_delete_=True, type='L1Loss', loss_weight=1.0, reduction='mean'))
