# A Restormer small enough for a CPU, with its own loss, on the data and schedule of NAFNet's runs. The
# learning rate too: of 1e-3, 3e-3 and 8e-3 the last was the best here as well; 1.6e-2 fell behind.
_base_ = './blur.py'

model = dict(
    generator=dict(
        _delete_=True,
        type='Restormer',
        inp_channels=3,
        out_channels=3,
        dim=8,
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
