"""The import rules that keep the data flow one-way."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmsamdistill'
# What each sub-package may import of ours; itself always, the leaves everybody.
LEAVES = {'files', 'frozen', 'version'}
ALLOWED = {
    'regions': set(),
    'losses': {'regions'},
    'cascade': {'regions', 'losses', 'weights'},
    'datasets': {'regions'},
    'engine': {'regions'},
    'restorers': {'compat'},
    'compat': set(),
}
# Derive from MMagic's models, and are themselves imported when a config names them.
IMPORTED_LATE = {'restorers/multi_stage.py'}
MODULES = sorted(PACKAGE.rglob('*.py'))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import; write the whole name'
            yield from ((f'{node.module}.{alias.name}', node) for alias in node.names)


@pytest.mark.parametrize('name', ALLOWED)
def test_sub_packages_import_only_what_lies_below_them(name):
    for path in (PACKAGE / name).rglob('*.py'):
        for module, _ in imported(path):
            parts = module.split('.')
            if parts[0] == 'mmsamdistill' and len(parts) > 1:
                assert parts[1] in {name} | ALLOWED[name] | LEAVES, f'{path} imports {module}'


def test_nothing_imports_the_tools():
    for path in MODULES:
        assert not [m for m, _ in imported(path) if m.split('.')[0] in ('tools', 'demo', 'tests')]


def test_only_the_sam_modules_name_segment_anything():
    named = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for module, _ in imported(path)
        if module.split('.')[0] in ('segment_anything', 'sam2')
    }
    assert named
    assert all(path.startswith('regions/') and 'sam' in Path(path).name for path in named), named


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_heavy_packages_are_imported_at_use(path):
    heavy = {'segment_anything', 'sam2', 'torchvision', 'skimage', 'matplotlib', 'pycocotools'}
    tree = ast.parse(path.read_text())
    top = {node.lineno for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))}
    if path.relative_to(PACKAGE).as_posix() in IMPORTED_LATE:
        assert top
        return
    for module, node in imported(path):
        if module.split('.')[0] in heavy or module.startswith(('mmagic.models', 'mmagic.datasets')):
            assert node.lineno not in top, f'{path} imports {module} at its top'


@pytest.mark.parametrize('late', IMPORTED_LATE)
def test_late_modules_are_imported_by_nobody_at_once(late):
    name = 'mmsamdistill.' + late.removesuffix('.py').replace('/', '.')
    for path in MODULES:
        tree = ast.parse(path.read_text())
        top = {node.lineno for node in tree.body}
        hits = [module for module, node in imported(path) if node.lineno in top]
        assert not [module for module in hits if module.startswith(name)], path


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_small(path):
    assert path.read_text().count('\n') <= 300
