"""The configurations of the published models say what was published."""

from pathlib import Path

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config

from mmsamdistill.deploy.cost import count_parameters

MODELS_FOLDER = Path(__file__).parents[2] / 'configs/_base_/models'
PARAMETERS = {
    'hinet_c64': 88_669_702,
    'hinet_c64_hin34': 88_668_806,
    'hinet_c64_l1': 88_669_702,
    'hinet_c32_l1': 22_176_518,
    'mprnet_c40': 3_637_249,
    'mprnet_c80': 15_741_025,
    'mprnet_c96': 20_127_073,
    'prenet': 168_963,
    'prenet_r': 94_979,
}


def build(name):
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(MODELS_FOLDER / f'{name}.py').model)


def test_all_of_them_are_listed():
    ours = (path.stem for kind in ('hinet', 'mprnet', 'prenet') for path in _files(kind))
    assert set(ours) == set(PARAMETERS)


@pytest.mark.parametrize('name', PARAMETERS)
def test_sizes_are_the_published_ones(name):
    assert count_parameters(build(name)) == PARAMETERS[name]


@pytest.mark.parametrize('name', PARAMETERS)
def test_losses_are_the_published_ones(name):
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 16, 16)
    image = truth + 0.1
    model = Config.fromfile(MODELS_FOLDER / f'{name}.py').model
    loss = MODELS.build(model.pixel_loss)(image, truth).item()
    pixel = (0.1**2 + 1e-6) ** 0.5  # Charbonnier
    if name.startswith('prenet'):
        assert loss == pytest.approx(MODELS.build({'type': 'SSIMLoss'})(image, truth).item())
        assert model.type == 'BaseEditModel'
    elif name.startswith('mprnet'):
        edge = 0.05 * MODELS.build({'type': 'EdgeLoss'})(image, truth).item()
        assert loss == pytest.approx(pixel if name == 'mprnet_c80' else pixel + edge, rel=1e-4)
    else:
        # Half of 10 log10 of the squared error, or the absolute one.
        assert loss == pytest.approx(0.1 if 'l1' in name else -10.0, rel=1e-3)


def _files(kind):
    return MODELS_FOLDER.glob(f'{kind}*.py')
