# MPRNet as published for deraining (Rain13k).
model = dict(
    type='MultiStageRestorer',
    generator=dict(
        type='MPRNet', mid_channels=40, unet_growth=20, full_growth=16, num_blocks=8, bias=False
    ),
    # On all three stages. The published epsilon is 1e-3; MMagic's CharbonnierLoss takes its square.
    pixel_loss=dict(
        type='SummedLoss',
        losses=dict(
            pixel=dict(type='CharbonnierLoss', eps=1e-6, reduction='mean'),
            edge=dict(type='EdgeLoss', loss_weight=0.05, eps=1e-3),
        ),
    ),
    data_preprocessor=dict(
        type='DataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        output_channel_order='RGB',
    ),
)
