"""Modules of MMagic whose source is amended."""

import warnings

import mmcv
import pytest

from mmsamdistill.compat.source_patches import amended, hint_at_untried_mmcv


@pytest.mark.parametrize('version', ['2.1.0', '2.2.0', '2.3.6', '2.10.1', '3.0.0rc1'])
def test_every_mmcv_is_accepted_and_untried_ones_are_remarked_on(monkeypatch, version):
    from mmengine.utils import digit_version

    module = {'__name__': 'x'}
    monkeypatch.setattr(mmcv, '__version__', version)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        code = compile(amended('mmagic', b"MMCV_MAX = '2.2.0'\nlast = 1"), 'x', 'exec')
        exec(code, module)
    assert digit_version(version) < digit_version(module['MMCV_MAX'])
    assert module['last'] == 1
    untried = version in ('2.10.1', '3.0.0rc1')
    assert bool(seen) == untried
    if untried:
        assert version in str(seen[0].message)


def test_the_installed_mmcv_is_a_tried_one():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        hint_at_untried_mmcv()
