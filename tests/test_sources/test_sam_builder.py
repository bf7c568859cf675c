"""Relatives of SAM, by a builder named in the configuration."""

import json

import pytest
import tiny_sam
import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.files import hash_file
from mmsamdistill.sources import SAMRegions
from mmsamdistill.sources.mask_generator import import_from

OPTIONS = {'points_per_side': 3, 'pred_iou_thresh': -100.0, 'stability_score_thresh': 0.0}
IMAGES = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
PATH = 'tiny_sam.build_tiny_sam'


def source(**kwargs):
    return MODELS.build({'type': 'SAMRegions', 'generator': OPTIONS, **kwargs})


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(tiny_sam.build_tiny_sam(seed=5).state_dict(), tmp_path / 'five.pth')
    return tmp_path / 'five.pth'


class Remembering(nn.Module):
    """Derives a value from its weights in eval(), as MobileSAM's encoder does."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.eval()

    def train(self, mode=True):
        if self.training and not mode:
            self.derived = self.weight.item()
        return super().train(mode)


def test_builder_with_its_own_weights_and_arguments():
    expected = SAMRegions(sam=tiny_sam.build_tiny_sam(seed=3), generator=OPTIONS)(IMAGES)
    for builder in (PATH, tiny_sam.build_tiny_sam):
        regions = source(builder=builder, builder_args={'seed': 3})
        assert regions.frozen.empty
        assert torch.equal(regions(IMAGES), expected)
        assert not regions.state_dict()
        assert not list(regions.parameters())
    assert not torch.equal(source(builder=PATH)(IMAGES), expected)


def test_checkpoint_replaces_the_builder_s_weights(checkpoint):
    expected = SAMRegions(sam=tiny_sam.build_tiny_sam(seed=5), generator=OPTIONS)(IMAGES)
    assert torch.equal(source(builder=PATH, checkpoint=str(checkpoint))(IMAGES), expected)
    torch.save({'other': torch.ones(1)}, checkpoint)
    with pytest.raises(ValueError, match=r'five\.pth is not a checkpoint.*give the builder'):
        source(builder=PATH, checkpoint=str(checkpoint))(IMAGES)


def test_values_derived_from_the_weights_are_derived_from_the_loaded_ones(tmp_path):
    torch.save({'weight': torch.full((1,), 7.0)}, tmp_path / 'seven.pth')
    regions = source(builder=Remembering, checkpoint=str(tmp_path / 'seven.pth'))
    regions._network()
    assert regions.frozen.network.derived == 7.0
    assert not regions.frozen.network.training


def test_description(checkpoint):
    description = source(builder=PATH, builder_args={'seed': 1}).describe()
    assert json.loads(json.dumps(description)) == description
    assert description['builder'] == PATH
    assert description['builder_args'] == {'seed': 1}
    assert description['model_type'] == 'custom'
    other = source(builder=PATH, builder_args={'seed': 2}).describe()
    assert description['checkpoint_sha256'] != other['checkpoint_sha256']
    read = source(builder=PATH, checkpoint=str(checkpoint)).describe()
    assert read['checkpoint_sha256'] == hash_file(checkpoint)
    # Caches of the three official models keep their fingerprint.
    plain = source(model_type='vit_b', checkpoint=str(checkpoint)).describe()
    assert 'builder' not in plain


def test_errors():
    with pytest.raises(ValueError, match='either sam or builder'):
        SAMRegions(sam=tiny_sam.build_tiny_sam(), builder=PATH)
    with pytest.raises(ValueError, match='name it in builder'):
        SAMRegions(builder_args={'seed': 1})
    with pytest.raises(TypeError, match='returned int, not a Sam'):
        source(builder=lambda: 3)(IMAGES)
    with pytest.raises(ImportError, match='there is no module nowhere_sam; install it'):
        source(builder='nowhere_sam.build')(IMAGES)
    with pytest.raises(ImportError, match='tiny_sam has no build_other'):
        source(builder='tiny_sam.build_other')(IMAGES)
    with pytest.raises(ValueError, match=r"unknown builder 'tiny'.*package\.module\.name"):
        source(builder='tiny')(IMAGES)


def test_a_path_may_end_in_a_mapping():
    assert import_from('torch.nn.functional.relu', 'builder') is nn.functional.relu
    path = 'segment_anything.sam_model_registry.vit_b'
    assert import_from(path, 'builder').__name__ == 'build_sam_vit_b'


def test_a_module_whose_own_import_fails_is_not_called_absent(tmp_path, monkeypatch):
    (tmp_path / 'broken_relative.py').write_text('import a_package_that_it_needs')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='a_package_that_it_needs'):
        import_from('broken_relative.build', 'builder')
