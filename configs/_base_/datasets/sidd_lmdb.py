# SIDD denoising, trained on its crops in two LMDBs, as NAFNet's official script makes them. Region
# maps stay in a folder beside them, found by the images' keys. Validated and tested on folders.
_base_ = './sidd.py'

# A list cannot be overridden in part, so the databases are set where the base has the files.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    for step, name in zip(pipeline[:2], ['input_crops.lmdb', 'gt_crops.lmdb'], strict=True):
        step['backend_args'] = dict(backend='lmdb', db_path=f'data/SIDD/train/{name}')
del pipeline, step, name

train_dataloader = dict(
    dataset=dict(
        ann_file='gt_crops.lmdb/meta_info.txt',
        data_prefix=dict(gt='gt_crops.lmdb', img='input_crops.lmdb'),
    )
)
