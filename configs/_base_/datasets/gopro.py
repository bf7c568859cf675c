# GoPro motion deblurring: random crops out of whole frames; tested on GoPro, HIDE and RealBlur, on
# whole images in RGB.
_base_ = '../pipelines/pairs.py'

# A list cannot be overridden in part, so the patch is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 256
del pipeline

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='gopro', task_name='deblurring'),
        data_root='data/gopro/train',
        data_prefix=dict(gt='sharp', img='blur'),
    )
)
region_folder = 'data/gopro/train/regions'  # of the distilled twins

# By name: folder, and its sub-folders of sharp and of blurred images. The papers align their results
# to the truth of RealBlur before they measure; here nothing is aligned, so that these numbers are
# lower, and their name says so.
test_sets = {
    'GoPro': ('data/gopro/test', 'sharp', 'blur'),
    'HIDE': ('data/HIDE', 'target', 'input'),
    'RealBlur_J_unaligned': ('data/RealBlur_J', 'target', 'input'),
    'RealBlur_R_unaligned': ('data/RealBlur_R', 'target', 'input'),
}
test_dataloader = [
    dict(
        **_base_.test_loader,
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name, task_name='deblurring'),
            data_root=root,
            data_prefix=dict(gt=gt, img=img),
            pipeline=_base_.test_pipeline,
        ),
    )
    for name, (root, gt, img) in test_sets.items()
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='gopro_rgb', prefix=name)] for name in test_sets
]

# Validated on GoPro, as in NAFNet's official training.
val_dataloader = test_dataloader[0]
val_evaluator = [dict(type='RestorationMetric', protocol='gopro_rgb')]
