# HINet of width 64 as published for deraining (Rain13k).
model = dict(
    type='MultiStageRestorer',
    generator=dict(type='HINet', mid_channels=64, depth=5, hin_levels=(0, 4)),
    pixel_loss=dict(type='PSNRLoss', loss_weight=0.5),  # on both stages
    data_preprocessor=dict(
        type='DataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        output_channel_order='RGB',
    ),
)
