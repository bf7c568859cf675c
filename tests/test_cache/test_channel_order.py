"""From a file to the source the channels keep their order: red is the first one."""

import cv2
import numpy as np
import pytest
import torch

from mmsamdistill.cache.extract import extract
from mmsamdistill.cache.store import RegionStore
from mmsamdistill.sources import RegionSource


class Reds(RegionSource):
    """One region where an image is more red than blue."""

    def find(self, images, data_samples=None):
        return (images[:, 0] > images[:, 2] + 0.5).long()

    def records(self, image):
        return [{'segmentation': self.find(image[None])[0].numpy() > 0, 'predicted_iou': 1.0}]

    def describe(self):
        return {'type': 'Reds'}


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('suffix', ['png', 'jpg', 'bmp'])
def test_a_source_sees_red_where_the_file_is_red(suffix, masks, tmp_path):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, :16], picture[:, 16:] = (0, 0, 255), (255, 0, 0)  # OpenCV's order: red, then blue
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / f'images/a.{suffix}'), picture)
    assert not extract(tmp_path / 'images', tmp_path / 'maps', Reds(), masks=masks).failed
    labels = torch.from_numpy(RegionStore(tmp_path / 'maps').read('a'))
    assert labels[:, :14].eq(1).all()
    assert labels[:, 18:].eq(0).all()
