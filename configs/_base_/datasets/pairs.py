# Your own pairs: two folders of images with the same names, degraded and true, sub-folders included.
# Crops are trained on; one set is validated and tested on, whole images in RGB.
#
#     data/pairs/train/input   data/pairs/train/target      (and train/regions, for a distilled twin)
#     data/pairs/test/input    data/pairs/test/target
_base_ = '../pipelines/pairs.py'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='pairs', task_name='restoration'),
        data_root='data/pairs/train',
        data_prefix=dict(img='input', gt='target'),
        recursive=True,
    )
)
region_folder = 'data/pairs/train/regions'  # of the distilled twin

test_dataloader = dict(
    **_base_.test_loader,
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='pairs', task_name='restoration'),
        data_root='data/pairs/test',
        data_prefix=dict(img='input', gt='target'),
        recursive=True,
        pipeline=_base_.test_pipeline,
    ),
)
# To compare with a paper's numbers, name its protocol here: `mmsamdistill.evaluation.PROTOCOLS`.
test_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]
val_dataloader = test_dataloader
val_evaluator = test_evaluator
