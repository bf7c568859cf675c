# What deraining gives a segmentation network: NAFNet of width 32 on RainCityscapes, measured by PSNR
# and SSIM, and by the mIoU of a frozen DeepLabV3 on the restored, the rainy and the clean images.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/models/nafnet_c32eb11128mb1db1111.py',
    '../../_base_/datasets/raincityscapes.py',
    '../../_base_/schedules/nafnet_400k.py',
]

model = dict(generator=dict(train_size=(1, 3, 128, 128)))

test_evaluator = [
    [
        dict(type='RestorationMetric', protocol='rain_y_matlab', prefix='RainCityscapes'),
        dict(
            type='SegmentationMetric',
            prefix='RainCityscapes',
            label_root='data/cityscapes/gtFine/val',
            # Trained on Cityscapes' 19 classes; torchvision's own weights know those of VOC.
            segmenter=dict(
                type='TorchvisionSegmenter',
                name='deeplabv3_resnet50',
                weights='data/weights/deeplabv3_resnet50_cityscapes.pth',
            ),
        ),
    ]
]
