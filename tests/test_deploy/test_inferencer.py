import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import INFERENCERS
from PIL import Image
from toy import plain_model

from mmsamdistill.deploy import RestorationInferencer, Restorer
from mmsamdistill.deploy.export import build_model


@pytest.fixture
def files(tmp_path):
    step = [{'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}]
    cfg = Config({'model': plain_model(), 'test_pipeline': step})
    cfg.dump(tmp_path / 'config.py')
    torch.manual_seed(0)  # of other weights a pixel may lie between two values
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'w.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    (tmp_path / 'images').mkdir()
    for index, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / 'images' / f'{index}.png')
    return tmp_path, pixels


def test_files_folders_and_arrays(files):
    root, pixels = files
    wanted = Restorer(root / 'config.py', root / 'w.pth', device='cpu')(list(pixels))
    assert INFERENCERS.get('mmengine.RestorationInferencer') is RestorationInferencer
    infer = RestorationInferencer(
        str(root / 'config.py'), str(root / 'w.pth'), 'cpu', show_progress=False
    )
    paths = [str(root / f'images/{index}.png') for index in range(3)]
    for inputs in (paths, list(pixels), paths[0], str(root / 'images')):
        found = infer(inputs, batch_size=2)['predictions']
        assert len(found) == (1 if inputs == paths[0] else 3)
        assert all(any((one == other).all() for other in wanted) for one in found)
    sample = infer(paths[0], return_datasamples=True)['predictions'][0]
    assert (sample.pred_img.permute(1, 2, 0).numpy() == wanted[0]).all()
