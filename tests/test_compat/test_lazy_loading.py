import ast
import importlib
import sys
from pathlib import Path

import mmengine.registry
import pytest

from mmsamdistill import compat
from mmsamdistill.compat.activation import require_host
from mmsamdistill.compat.lazy_package import explain
from mmsamdistill.compat.lazy_registry import registration_index

compat.activate()

import mmagic  # noqa: E402
from mmagic import registry  # noqa: E402
from mmagic.registry import DIFFUSION_SCHEDULERS, METRICS, MODELS, TRANSFORMS  # noqa: E402

ROOT = Path(mmagic.__file__).parent
has_diffusers = importlib.util.find_spec('diffusers') is not None
has_operators = importlib.util.find_spec('mmcv._ext') is not None


def registered_by_syntax_tree():
    """Every (variable, name) of MMagic, found by the slow and sure way."""
    for folder in ('models', 'datasets', 'engine', 'evaluation', 'visualization'):
        for path in (ROOT / folder).rglob('*.py'):
            module = '.'.join(path.relative_to(ROOT.parent).with_suffix('').parts)
            for node in ast.parse(path.read_bytes()).body:
                calls = getattr(node, 'decorator_list', [])
                if isinstance(node, ast.Expr):
                    calls = [node.value]
                for call in calls:
                    if getattr(getattr(call, 'func', None), 'attr', '') != 'register_module':
                        continue
                    given = [*call.args, *(k.value for k in call.keywords if k.arg == 'name')]
                    name = given[0].value if given else node.name
                    yield (call.func.value.id, name), module.removesuffix('.__init__')


@pytest.mark.filterwarnings('ignore:invalid escape')
def test_index_equals_the_syntax_tree():
    expected = {}
    for key, module in registered_by_syntax_tree():
        expected.setdefault(key, set()).add(module)
    index = registration_index(str(ROOT))
    assert len(expected) > 300
    assert set(index) == set(expected)
    assert all(index[key] in expected[key] for key in index)


def test_activation_is_idempotent():
    finders = list(sys.meta_path)
    compat.activate()
    assert sys.meta_path == finders


@pytest.mark.parametrize(
    'name', ['NAFNet', 'NAFBaselineLocal', 'Restormer', 'BaseEditModel', 'PSNRLoss']
)
def test_names_are_found_from_every_side(name):
    found = MODELS.get(name)
    assert found.__name__ == name
    assert MODELS.get(f'mmagic.{name}') is found
    assert mmengine.registry.MODELS.get(f'mmagic.{name}') is found
    with MODELS.switch_scope_and_registry('mmagic') as scoped:
        assert scoped.get(name) is found


def test_attributes_are_those_of_the_package():
    import mmagic.evaluation.metrics.psnr
    from mmagic.evaluation import psnr
    from mmagic.models import NAFNet
    from mmagic.models.editors import NAFNet as same
    from mmagic.models.editors.nafnet.nafnet_net import NAFNet as origin

    assert NAFNet is same is origin is mmagic.models.editors.nafnet.NAFNet
    # The function, not the submodule of the same name, though that was imported just now.
    assert callable(psnr)
    assert mmagic.evaluation.metrics.psnr is psnr
    assert {'NAFNet', 'StableDiffusion'} <= set(dir(mmagic.models))
    assert mmagic.models.archs.DiffusersWrapper.__name__ == 'DiffusersWrapper'
    with pytest.raises(ImportError):
        from mmagic.models import NoSuchNet  # noqa: F401
    assert not hasattr(mmagic.models.editors, 'no_such_editor')


def test_parts_that_another_package_registers_are_brought_along():
    assert TRANSFORMS.get('RandomApply').__module__.startswith('mmcv')
    assert MODELS.get('Conv2d') is not None
    assert MODELS.get('Deconv').__name__ == 'ConvTranspose2d'


def test_star_import_takes_what_can_be_imported():
    names = {}
    exec('from mmagic.models.losses import *', names)
    assert 'PSNRLoss' in names


@pytest.mark.skipif(has_operators, reason='full mmcv is installed')
def test_an_unavailable_part_says_what_is_missing():
    for _ in range(2):  # remembered, and as clear the second time
        with pytest.raises(compat.MissingDependencyError, match=r'EDVRNet.*full mmcv') as caught:
            MODELS.build({'type': 'EDVRNet'})
        assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(ImportError, match='full mmcv'):
        from mmagic.models import EDVRNet  # noqa: F401
    assert 'EDVRNet' not in MODELS
    assert 'NAFNet' in MODELS


@pytest.mark.skipif(has_diffusers, reason='diffusers is installed')
@pytest.mark.parametrize(
    ('parts', 'name'),
    [
        (MODELS, 'UNet2DConditionModel'),
        (DIFFUSION_SCHEDULERS, 'EulerDiscreteScheduler'),
    ],
)
def test_parts_from_diffusers_name_diffusers(parts, name):
    with pytest.raises(compat.MissingDependencyError, match='diffusers') as caught:
        parts.get(name)
    assert caught.value.name == 'diffusers'
    with pytest.raises(ImportError, match='diffusers'):
        from mmagic.models.archs import AttentionInjection  # noqa: F401


@pytest.mark.skipif(has_diffusers, reason='diffusers is installed')
def test_no_stand_in_modules_are_left():
    assert DIFFUSION_SCHEDULERS.get('EditDDIMScheduler') is not None
    assert not [name for name in sys.modules if name.partition('.')[0] == 'diffusers']
    with pytest.raises(ModuleNotFoundError, match="No module named 'diffusers'"):
        importlib.import_module('diffusers')


def test_a_misspelt_name_suggests_the_nearest():
    with pytest.raises(KeyError, match=r"'NAFNett'.*'NAFNet'"):
        MODELS.build({'type': 'NAFNett'})
    with pytest.raises(KeyError, match='PSNR'):
        METRICS.get('PNSR')
    assert MODELS.get('Zzyzx') is None
    assert 'NAFNett' not in MODELS


def test_a_users_class_of_the_same_name_stays():
    class PlainRefiner:
        pass

    MODELS.register_module(name='PlainRefiner', module=PlainRefiner, force=True)
    importlib.import_module('mmagic.models.editors.plain.plain_refiner')
    assert MODELS.get('PlainRefiner') is PlainRefiner
    with pytest.raises(KeyError, match='already registered'):
        MODELS.register_module(name='PlainRefiner', module=PlainRefiner)
    MODELS.module_dict.pop('PlainRefiner')


def test_all_registries_of_mmagic_are_lazy():
    kinds = {
        type(r).__name__ for r in vars(registry).values() if getattr(r, 'scope', '') == 'mmagic'
    }
    assert kinds == {'LazyRegistry'}


def test_a_missing_host_says_how_to_install_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name[:3] == 'mma' else find(name)
    )
    with pytest.raises(ImportError, match=r'--no-deps mmagic==1\.2\.0'):
        require_host()


def test_explanations():
    with pytest.raises(ImportError) as caught:
        from numpy import bool8000  # noqa: F401
    assert explain(caught.value).startswith('numpy ')
    assert 'too old or too new' in explain(caught.value)
    assert explain(ValueError('odd')) == 'ValueError: odd'
