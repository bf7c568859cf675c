# NAFNet of width 32 with the blocks published for denoising (SIDD); `Local` is ours here: SIDD
# is tested on crops as large as the training patches, these data sets on whole images.
model = dict(
    type='BaseEditModel',
    generator=dict(
        type='NAFNetLocal',  # pools as locally in testing as in training
        img_channels=3,
        mid_channels=32,
        enc_blk_nums=[2, 2, 4, 8],
        middle_blk_num=12,
        dec_blk_nums=[2, 2, 2, 2],
    ),
    pixel_loss=dict(type='PSNRLoss'),
    data_preprocessor=dict(
        type='DataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        output_channel_order='RGB',
    ),
)
