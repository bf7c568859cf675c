# Rain13K deraining, tested on its five test sets on the Y channel of whole images.
_base_ = '../pipelines/pairs.py'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='rain13k', task_name='deraining'),
        data_root='data/rain13k/train',
        data_prefix=dict(gt='target', img='input'),
    )
)
region_folder = 'data/rain13k/train/regions'  # of the distilled twins

test_names = ['Test100', 'Rain100H', 'Rain100L', 'Test2800', 'Test1200']
test_dataloader = [
    dict(
        **_base_.test_loader,
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name, task_name='deraining'),
            data_root=f'data/rain13k/test/{name}',
            data_prefix=dict(gt='target', img='input'),
            pipeline=_base_.test_pipeline,
        ),
    )
    for name in test_names
]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='rain_y_matlab', prefix=name)] for name in test_names
]

# Validated on Rain100L, as in Restormer's official training.
val_dataloader = test_dataloader[2]
val_evaluator = [dict(type='RestorationMetric', protocol='rain_y_matlab')]
