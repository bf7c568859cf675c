"""The import rules that keep the data flow one-way."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmsamdistill'
# The floors of the house, the ground first: a module imports from floors below its own and from its
# own package, never from above. Every package and every loose module stands here.
FLOORS = (
    'version',
    'arguments',
    'command_line',
    'files',
    'images',
    'frozen',
    'value_range',
    'weights',
    'compat',
    'regions',
    'fast_sam',
    'sources',
    'cache',
    'losses',
    'cascade',
    'restorers',
    'datasets',
    'data_check',
    'evaluation',
    'engine',
    'deploy',
    'comparison',
    'diagnosis',
)
# Imports nothing of ours: could be published alone.
INDEPENDENT = {'version', 'arguments', 'files', 'images', 'frozen', 'value_range', 'fast_sam'}
# Derive from MMagic's models, and are themselves imported when a config names them.
IMPORTED_LATE = {'restorers/multi_stage.py'}
MODULES = sorted(PACKAGE.rglob('*.py'))


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def imported(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import; write the whole name'
            yield from ((f'{node.module}.{alias.name}', node) for alias in node.names)


def test_every_package_and_loose_module_has_its_floor():
    there = {path.relative_to(PACKAGE).parts[0].removesuffix('.py') for path in MODULES}
    assert there - {'__init__'} == set(FLOORS)


@pytest.mark.parametrize('name', FLOORS)
def test_imports_lead_downwards_only(name):
    paths = (
        (PACKAGE / name).rglob('*.py') if (PACKAGE / name).is_dir() else [PACKAGE / f'{name}.py']
    )
    for path in paths:
        for module, _ in imported(path):
            if not module.startswith('mmsamdistill.'):
                continue
            target = module.split('.')[1]
            if target == name or target == '__version__':
                continue
            assert name not in INDEPENDENT, f'{path} imports {module}'
            assert FLOORS.index(target) < FLOORS.index(name), (
                f'{path} imports {module}, which is above'
            )


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
    assert all(path.startswith(('sources/sam', 'fast_sam/')) for path in named), named


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_heavy_packages_are_imported_at_use(path):
    heavy = {'segment_anything', 'sam2', 'torchvision', 'skimage', 'matplotlib', 'pycocotools'}
    tree = tree_of(path)
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
        tree = tree_of(path)
        top = {node.lineno for node in tree.body}
        hits = [module for module, node in imported(path) if node.lineno in top]
        assert not [module for module in hits if module.startswith(name)], path


def lines_of_code(path):
    tree = tree_of(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith('#') and number not in docstrings
        for number, line in enumerate(path.read_text().splitlines(), 1)
    )


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_small(path):
    assert lines_of_code(path) <= 200


def test_no_package_holds_more_than_its_share():
    lines = {path: path.read_text().count('\n') for path in MODULES}
    for name in FLOORS:
        share = sum(count for path, count in lines.items() if (PACKAGE / name) in path.parents)
        assert share <= 0.15 * sum(lines.values()), name
