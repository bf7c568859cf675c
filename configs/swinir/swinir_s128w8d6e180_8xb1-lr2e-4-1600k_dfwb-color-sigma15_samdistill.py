# The distilled twin of the configuration below: same student, same recipe.
_base_ = [
    './swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-color-sigma15.py',
    '../_base_/distill/samdistill.py',
]

model = dict(_delete_=True, restorer={{_base_.model}}, **_base_.distill)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RegionDataset',
        dataset={{_base_.train_dataloader.dataset}},
        regions={{_base_.region_folder}},
    )
)
optim_wrapper = {{_base_.cascade_optim_wrapper}}
custom_hooks = [*_base_.custom_hooks, _base_.region_cache_hook]
