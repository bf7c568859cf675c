import random

import cv2
import numpy as np
import pytest
import torch
from mmagic.structures import DataSample

import mmsamdistill  # noqa: F401  (its remedies)

NAMES = [f'field_{index}' for index in range(12)]


def test_samples_with_equal_fields_are_stacked_whatever_order_these_were_set_in():
    for seed in range(20):
        others = random.Random(seed).sample(NAMES, len(NAMES))
        samples = []
        for names in (NAMES, others):
            sample = DataSample(metainfo={f'meta_{name}': name for name in names})
            sample.set_data({name: torch.tensor([float(name[6:])]) for name in names})
            samples.append(sample)
        stacked = DataSample.stack(samples)
        assert stacked.field_7.tolist() == [[7], [7]]
        assert stacked.meta_field_7 == ['field_7'] * 2


def test_an_error_of_a_pipeline_names_the_sample(tmp_path):
    from mmagic.datasets import BasicImageDataset

    for side, size in (('gt', 16), ('img', 8)):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / 'a.png'), np.zeros((size, size, 3), np.uint8))
    load = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
    steps = [{'type': 'SetValues', 'dictionary': {'scale': 1}}]
    steps += [{'type': 'PairedRandomCrop', 'gt_patch_size': 4}]
    options = {'data_root': str(tmp_path), 'data_prefix': {'img': 'img', 'gt': 'gt'}}
    dataset = BasicImageDataset(pipeline=[*load, *steps], **options)
    with pytest.raises(ValueError, match=r'gt/a\.png and .*img/a\.png: Scale mismatches'):
        dataset[0]
    steps[1]['gt_patch_size'] = 'large'
    asked = BasicImageDataset(pipeline=[*load, *steps], **options)
    with pytest.raises(ValueError, match=r'img/a\.png: PairedRandomCrop: TypeError: .*str'):
        asked[0]
    (tmp_path / 'img/a.png').write_bytes(b'damaged')
    with pytest.raises(ValueError, match=r'img/a\.png cannot be read') as error:
        dataset[0]
    assert 'gt/a.png' not in str(error.value)
