# PReNet as published for deraining: six stages, the last one alone supervised, by negative SSIM.
model = dict(
    type='BaseEditModel',
    generator=dict(type='PReNet', num_stages=6, mid_channels=32),
    pixel_loss=dict(type='SSIMLoss'),
    data_preprocessor=dict(
        type='DataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        output_channel_order='RGB',
    ),
)
