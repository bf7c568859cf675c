"""The example configuration, run on a Cityscapes of two rains."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/segmentation/_base_/nafnet_c32_raincityscapes_deeplabv3.py'


class Keep(Hook):
    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


def write_cityscapes(root, rains):
    generator = np.random.default_rng(0)
    for path, values in [
        ('leftImg8bit/val/ulm/ulm_0_leftImg8bit.png', 256),
        *((f'leftImg8bit_rain/val/ulm/ulm_0_leftImg8bit{rain}.png', 256) for rain in rains),
        ('gtFine/val/ulm/ulm_0_gtFine_labelIds.png', 34),
    ]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shape = (32, 64) if values == 34 else (32, 64, 3)
        cv2.imwrite(str(root / path), generator.integers(0, values, shape).astype(np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize('labelled', [True, False])
def test_the_example_runs_as_it_is_written(tmp_path, monkeypatch, labelled):
    from torchvision.models import get_model

    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(CONFIG)
    rains = cfg.test_dataloader[0].dataset.datasets[:2]
    endings = [each.img_suffix.removesuffix('.png') for each in rains]
    write_cityscapes(tmp_path / 'data/cityscapes', endings)
    if not labelled:
        (tmp_path / 'data/cityscapes/gtFine/val/ulm/ulm_0_gtFine_labelIds.png').unlink()
    segmenter = cfg.test_evaluator[0][1].segmenter
    # The same kind of network, of a size for a test.
    segmenter.name = 'lraspp_mobilenet_v3_large'
    network = get_model(segmenter.name, weights=None, weights_backbone=None, num_classes=19)
    Path(segmenter.weights).parent.mkdir(parents=True)
    torch.save(network.state_dict(), segmenter.weights)
    cfg.model.generator.update(mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1])
    cfg.test_dataloader[0].update(num_workers=0)
    cfg.test_dataloader[0].dataset.datasets = rains
    # Of the training only its form counts here, and it has 36 data sets.
    for name in ('train_set', 'test_set', 'train_dataloader', 'val_dataloader'):
        cfg.pop(name)
    for name in ('train_cfg', 'val_cfg', 'val_evaluator', 'optim_wrapper', 'param_scheduler'):
        cfg.pop(name)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path), 'ERROR', tmp_path.name
    runner, keep = Runner.from_cfg(cfg), Keep()
    runner.register_hook(keep)
    if not labelled:
        with pytest.raises(FileNotFoundError, match='ulm_0_gtFine_labelIds'):
            runner.test()
        return
    runner.test()
    names = ('PSNR', 'SSIM', 'mIoU', 'mIoU_degraded', 'mIoU_clean')
    assert set(keep.metrics) == {f'RainCityscapes/{name}' for name in names}
    metric = runner.test_loop.evaluators[0].metrics[1]
    assert [row['name'] for row in metric.per_image] == sorted(
        f'ulm_0_leftImg8bit{e}' for e in endings
    )
    # One truth for both rains.
    assert len({row['mIoU_clean'] for row in metric.per_image}) == 1


def test_the_readme_names_what_exists():
    from mmagic.registry import METRICS, MODELS

    text = (CONFIG.parents[1] / 'README.md').read_text()
    assert CONFIG.relative_to(ROOT).as_posix() in text
    for name in ('TorchvisionSegmenter', 'TransformersSegmenter', 'RegisteredSegmenter'):
        assert f"'{name}'" in text
        assert MODELS.get(name)
    assert METRICS.get('SegmentationMetric')
