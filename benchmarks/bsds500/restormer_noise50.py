# A Restormer small enough for a CPU, on the data and schedule of NAFNet's runs.
_base_ = './noise50.py'

model = dict(
    generator=dict(
        _delete_=True,
        type='Restormer',
        inp_channels=3,
        out_channels=3,
        dim=16,
        num_blocks=[1, 1, 1, 1],
        num_refinement_blocks=1,
        heads=[1, 2, 4, 8],
        ffn_expansion_factor=2.66,
        bias=False,
        LayerNorm_type='BiasFree',
        dual_pixel_task=False,
    ),
    pixel_loss=dict(_delete_=True, type='L1Loss', loss_weight=1.0, reduction='mean'),
)
