# RainCityscapes deraining: 36 rains (three strengths of 12 patterns) over each photograph of
# Cityscapes, read from the two archives as they are. All rains of a photograph share its truth and
# its region map. Crops and measurement are those of Rain13K.
_base_ = '../pipelines/pairs.py'

strengths = ['0.01_beta_0.005_dropsize_0.01', '0.02_beta_0.01_dropsize_0.005']
strengths += ['0.03_beta_0.015_dropsize_0.002']
rains = [f'_rain_alpha_{each}_pattern_{n}' for each in strengths for n in range(1, 13)]
train_set, test_set = (
    dict(
        type='ConcatDataset',
        # One data set for each rain: the photographs are found by the names of its files. Their
        # whole ending is given, since the template alone would take pattern_12 for pattern_1.
        datasets=[
            dict(
                type='BasicImageDataset',
                metainfo=dict(dataset_type='RainCityscapes', task_name='deraining'),
                data_root='data/cityscapes',
                data_prefix=dict(gt=f'leftImg8bit/{split}', img=f'leftImg8bit_rain/{split}'),
                filename_tmpl=dict(gt='{}_leftImg8bit', img='{}_leftImg8bit' + rain),
                search_key='img',
                img_suffix=rain + '.png',
                recursive=True,
                # Small lists; serialising each of them costs a collection of all garbage.
                serialize_data=False,
                pipeline=pipeline,
            )
            for rain in rains
        ],
    )
    for split, pipeline in [('train', _base_.train_pipeline), ('val', _base_.test_pipeline)]
)

train_dataloader = dict(dataset=dict(_delete_=True, **train_set))
test_dataloader = [dict(**_base_.test_loader, dataset=test_set)]
test_evaluator = [
    [dict(type='RestorationMetric', protocol='rain_y_matlab', prefix='RainCityscapes')]
]

# Validated on one rain of the 33 test photographs: all 36 are for the test.
val_dataloader = dict(**_base_.test_loader, dataset=test_set['datasets'][-1])
val_evaluator = [dict(type='RestorationMetric', protocol='rain_y_matlab')]
