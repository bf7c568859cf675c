# NAFNet of width 32 as published for deblurring (GoPro).
model = dict(
    type='BaseEditModel',
    generator=dict(
        type='NAFNetLocal',  # pools as locally in testing as in training
        img_channels=3,
        mid_channels=32,
        enc_blk_nums=[1, 1, 1, 28],
        middle_blk_num=1,
        dec_blk_nums=[1, 1, 1, 1],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(
        type='DataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        output_channel_order='RGB',
    ),
)
