import importlib.metadata
import sys
from pathlib import Path

import mmengine
import mmengine.config.config
import pytest
import torch

from mmsamdistill import compat
from mmsamdistill.compat.source_patches import SOURCE_PATCHES, amended

compat.activate()


def test_mmengine_uses_the_replacements_wherever_it_imported_them():
    assert mmengine.config.config.get_installed_path is mmengine.utils.get_installed_path
    assert mmengine.config.config.is_installed is mmengine.utils.is_installed


def test_paths():
    folder = Path(mmengine.__file__).parent
    assert Path(mmengine.utils.get_installed_path('mmengine')) == folder
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        mmengine.utils.get_installed_path('no-such-package')
    assert mmengine.utils.is_installed('json')  # a module without a distribution
    assert not mmengine.utils.is_installed('no_such_package')


def test_a_namespace_package_has_no_path(tmp_path, monkeypatch):
    (tmp_path / 'empty_namespace').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not mmengine.utils.is_installed('empty_namespace')
    with pytest.raises(RuntimeError, match='namespace'):
        mmengine.utils.get_installed_path('empty_namespace')


def test_config_inheritance_across_packages_needs_no_pkg_resources(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)  # importing it fails
    path = tmp_path / 'child.py'
    path.write_text(
        "_base_ = 'mmagic::nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py'\n"
        'model = dict(generator=dict(mid_channels=8))\n'
    )
    assert mmengine.Config.fromfile(path).model.generator.mid_channels == 8


def test_numpy_is_not_extended():
    import mmagic.utils.trans_utils as patched
    import numpy as np

    assert patched.dtype_range[np.bool_] == (False, True)
    assert int(np.__version__.split('.')[0]) < 2 or not hasattr(np, 'bool8')


def test_patches_leave_other_code_alone():
    source = b'MMCV_MAX = "2.1.0"\nother.bool8\ndef f():\n    return 1\n'
    for module in SOURCE_PATCHES:
        assert amended(module, source) == source


def test_samples_that_cannot_be_one_batch_are_named():
    from mmagic.structures import DataSample

    def sample(name, **entries):
        entries = {key: torch.zeros(3, *size) for key, size in entries.items()}
        return DataSample(metainfo={'gt_path': f'gt/{name}.png'}, **entries)

    both = [sample('a', gt_img=(4, 4), regions=(4, 4)), sample('b', gt_img=(4, 4))]
    with pytest.raises(ValueError, match=r'gt/a\.png and gt/b\.png .* one of them has regions'):
        DataSample.stack(both)
    with pytest.raises(ValueError, match=r'gt/b\.png .*gt_img is of \(3, 4, 4\) and of \(3, 4, 6'):
        DataSample.stack([both[1], both[1], sample('c', gt_img=(4, 6))])
    assert DataSample.stack([both[1], both[1]]).gt_img.shape == (2, 3, 4, 4)
