# MPRNet as published for denoising (SIDD), without the edge loss. The official training clamps the
# stages' images to [0, 1] before the loss; here they are not clamped.
_base_ = './mprnet_c40.py'

model = dict(
    generator=dict(mid_channels=80, unet_growth=48, full_growth=32),
    pixel_loss=dict(_delete_=True, type='CharbonnierLoss', eps=1e-6, reduction='mean'),
)
