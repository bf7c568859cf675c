import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ('3.10', '3.11', '3.12')
PLATFORMS = {
    'linux': {'sys_platform': 'linux', 'platform_system': 'Linux', 'platform_machine': 'x86_64'},
    'darwin': {'sys_platform': 'darwin', 'platform_system': 'Darwin', 'platform_machine': 'arm64'},
}


def read(name):
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    lines = [line.split(' #')[0].strip() for line in lines]
    return [Requirement(line) for line in lines if line and line[0] not in '#-']


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
    for requirement in read('lock.txt'):
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f'{name} is pinned twice for Python {python}'
            pins[name] = str(requirement.specifier)
    return pins


@pytest.mark.parametrize('requirement', read('lock.txt'), ids=str)
def test_every_line_is_an_exact_released_pin(requirement):
    (specifier,) = requirement.specifier
    assert specifier.operator == '=='
    assert '*' not in specifier.version
    assert not Version(specifier.version).is_prerelease
    assert requirement.url is None


@pytest.mark.parametrize('platform', PLATFORMS)
@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('name', ['runtime', 'mminstall', 'sam', 'tests'])
def test_lock_satisfies_requirements(name, python, platform):
    pins = locked(python, platform)
    for requirement in read(f'{name}.txt'):
        version = pins[canonicalize_name(requirement.name)].removeprefix('==')
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
    from importlib.metadata import PackageNotFoundError, requires, version

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
def test_nothing_to_compile_and_nothing_of_mmagics_own_list(python):
    unwanted = {'mmcv', 'mmcv-full', 'diffusers', 'transformers', 'mediapipe', 'face-alignment'}
    assert not unwanted & set(locked(python))
    assert {'mmcv-lite', 'mmengine', 'mmagic'} <= set(locked(python))


def test_openmmlab_packages_are_no_hard_requirements():
    names = {canonicalize_name(requirement.name) for requirement in read('runtime.txt')}
    assert not names & {'mmcv', 'mmcv-lite', 'mmengine', 'mmagic', 'torch', 'torchvision'}
    names = {canonicalize_name(requirement.name) for requirement in read('mminstall.txt')}
    assert names == {'mmengine', 'mmcv-lite'}


def test_header_tells_how_to_regenerate():
    header = (ROOT / 'requirements' / 'lock.txt').read_text().split('\n\n')[0]
    assert 'uv pip compile --universal' in header
    assert '--no-deps' in header
    body = (ROOT / 'requirements' / 'lock.txt').read_text()
    assert not re.search(r'https?://|--index|--find-links', body)


def test_installed_versions_are_the_pinned_ones():
    """Fails in an environment that `make` did not prepare; there it says what differs."""
    import sys
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
