# GoPro motion deblurring, trained on crops of 512 pixels in two LMDBs, as NAFNet's official script
# makes them. Region maps stay in a folder beside them, found by the images' keys. Tested on folders.
_base_ = './gopro.py'

# A list cannot be overridden in part, so the databases are set where the base has the files.
for pipeline in [_base_.train_pipeline, _base_.train_dataloader['dataset']['pipeline']]:
    for step, name in zip(pipeline[:2], ['blur_crops.lmdb', 'sharp_crops.lmdb'], strict=True):
        step['backend_args'] = dict(backend='lmdb', db_path=f'data/gopro/train/{name}')
del pipeline, step, name

train_dataloader = dict(
    dataset=dict(
        ann_file='sharp_crops.lmdb/meta_info.txt',
        data_prefix=dict(gt='sharp_crops.lmdb', img='blur_crops.lmdb'),
    )
)
