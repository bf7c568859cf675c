# SIDD denoising of smartphone photographs, in RGB: crops of 512 pixels of the 320 pairs of SIDD-Medium
# for training, the benchmark's 1280 validation blocks for validation and test. As NAFNet was trained:
# patches of 256, neither flipped nor transposed.
_base_ = '../pipelines/pairs.py'

# A list cannot be overridden in part, so this is set where the base has it.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    pipeline[3]['gt_patch_size'] = 256
    del pipeline[4:7]
del pipeline

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='sidd', task_name='denoising'),
        data_root='data/SIDD/train',
        data_prefix=dict(gt='gt_crops', img='input_crops'),
    )
)
region_folder = 'data/SIDD/train/regions'  # of the distilled twins

# Folders and names are those that MMagic's script exports from the benchmark's two .mat files.
val_dataloader = dict(
    **_base_.test_loader,
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='SIDD', task_name='denoising'),
        data_root='data/SIDD/val',
        data_prefix=dict(gt='gt', img='noisy'),
        filename_tmpl=dict(gt='{}_GT', img='{}_NOISY'),
        pipeline=_base_.test_pipeline,
    ),
)
val_evaluator = [dict(type='RestorationMetric', protocol='sidd_rgb')]

test_dataloader = [val_dataloader]
test_evaluator = [[dict(type='RestorationMetric', protocol='sidd_rgb', prefix='SIDD')]]
