import random

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
