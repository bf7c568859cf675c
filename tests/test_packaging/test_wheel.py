import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mmsamdistill.version import __version__

ROOT = Path(__file__).resolve().parents[2]
BUILT = [
    'configs',
    'mmsamdistill',
    'requirements',
    'tools',
    'mmsamdistill_command.py',
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'README.md',
    'LICENSE',
    'model-index.yml',
    '.gitignore',
    'CITATION.cff',
]


def run(*command, cwd, **environ):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, 'PIP_NO_INDEX': '1', **environ},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    """A committed copy of the project, with a stale build as a trap."""
    folder = tmp_path_factory.mktemp('project')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in BUILT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, folder / name)
    git = ('git', '-c', 'user.name=x', '-c', 'user.email=x@x', '-c', 'core.hooksPath=')
    run(*git, 'init', '-q', cwd=folder)
    run(*git, 'add', '-A', cwd=folder)
    run(*git, 'commit', '-qm', 'x', cwd=folder)
    stale = folder / 'build' / 'lib' / 'mmsamdistill'
    stale.mkdir(parents=True)
    (stale / 'deleted_long_ago.py').write_text('')
    return folder


@pytest.fixture(scope='module')
def wheel(copy, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    pip = (sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation')
    run(*pip, '-w', out, '.', cwd=copy)
    (path,) = out.glob('*.whl')
    return path


@pytest.mark.slow
@pytest.mark.parametrize('folder', ['configs', 'tools'])
def test_wheel_carries_every_file(copy, wheel, folder):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = run('git', 'ls-files', folder, cwd=copy).split()
    assert len(expected) > 3
    missing = {name for name in expected if f'mmsamdistill/.mim/{name}' not in names}
    assert not missing


@pytest.mark.slow
def test_wheel_carries_package_and_index(wheel, copy):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert 'mmsamdistill/.mim/model-index.yml' in names
    modules = run('git', 'ls-files', 'mmsamdistill/*.py', cwd=copy).split()
    pages = run('git', 'ls-files', 'mmsamdistill/comparison/page', cwd=copy).split()
    assert pages
    assert {*modules, *pages} <= names
    assert not [name for name in names if '__pycache__' in name or 'deleted_long_ago' in name]
    assert not [name for name in names if name.split('/')[0] in {'tests', 'configs', 'tools'}]


@pytest.mark.slow
def test_building_leaves_the_tree_clean(copy, wheel):
    assert run('git', 'status', '--porcelain', cwd=copy) == ''
    assert not (copy / 'mmsamdistill' / '.mim').exists()


@pytest.mark.slow
def test_metadata(wheel):
    assert wheel.name.startswith(f'mmsamdistill-{__version__}-')
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    metadata = archive.read(name).decode()
    assert f'Version: {__version__}\n' in metadata
    assert 'Requires-Python: >=3.10' in metadata
    for extra in ('mmlab', 'onedl', 'mim', 'tests', 'docs', 'sam', 'edges', 'all'):
        assert f'Provides-Extra: {extra}\n' in metadata
    hard = re.findall(r'^Requires-Dist: ([\w-]+)(?!.*extra ==).*$', metadata, re.MULTILINE)
    assert 'numpy' in hard
    assert not [name for name in hard if name.startswith('mm')]


def test_citation_has_the_same_version():
    text = (ROOT / 'CITATION.cff').read_text()
    assert f'version: {__version__}\n' in text
    assert 'arXiv:2403.16368' in text


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The wheel installed, not editable, where it comes first on the path."""
    target = tmp_path_factory.mktemp('site')
    pip = (sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-compile', '--target', target)
    run(*pip, wheel, cwd=target)
    return target


@pytest.mark.slow
def test_installed_payload_is_found_by_mmengine_and_mim_and_can_be_inherited(installed, tmp_path):
    pytest.importorskip('mim')
    (tmp_path / 'mine.py').write_text("_base_ = 'mmsamdistill::demo/nafnet_denoise.py'\n")
    code = (
        'import mmsamdistill\n'
        'from mmengine.config import Config\n'
        'from mmengine.utils import get_installed_path as a\n'
        'from mim.utils import get_installed_path as b\n'
        "cfg = Config.fromfile('mine.py')\n"
        # Under another scope than MMagic's the parts inside a model would not be found.
        "print(cfg.model.type, cfg.model.get('_scope_', 'mmagic'))\n"
        "print(mmsamdistill.__path__[0], a('mmsamdistill'), b('mmsamdistill'))"
    )
    out = run(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path, PYTHONPATH=str(installed))
    kind, scope, *paths = out.split()[-5:]
    assert (kind, scope) == ('BaseEditModel', 'mmagic')
    assert paths == [str(installed / 'mmsamdistill')] * 3


@pytest.mark.slow
def test_editable_install_links_the_payload(copy, tmp_path):
    pip = (sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-build-isolation')
    run(*pip, '--target', tmp_path, '-e', '.', cwd=copy)
    payload = copy / 'mmsamdistill' / '.mim'
    try:
        assert (payload / 'configs').is_symlink()
        assert (payload / 'tools').resolve() == copy / 'tools'
        assert (payload / 'model-index.yml').resolve() == copy / 'model-index.yml'
        (top_level,) = tmp_path.glob('*.dist-info/top_level.txt')
        assert top_level.read_text().split() == [str(copy / 'mmsamdistill'), 'mmsamdistill']
        assert run('git', 'status', '--porcelain', cwd=copy) == ''
    finally:
        shutil.rmtree(payload)


def test_model_index_lists_every_metafile():
    yaml = pytest.importorskip('yaml')
    listed = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    there = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/metafile.yml')}
    assert set(listed) == there
    assert len(listed) == len(set(listed))
