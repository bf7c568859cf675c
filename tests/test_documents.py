"""The documents for contributors name what exists, and all machinery runs the same commands."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob('[RC]*.md'), *ROOT.glob('docs/*.md')]
)


def paths_of(document):
    """Relative links, and what looks like a file in code."""
    text = (ROOT / document).read_text()
    for link in re.findall(r'\]\(([^)#]+)\)', text):
        if '://' not in link:
            yield (ROOT / document).parent / link
    # Files in code, of the repository or of the package; links have their own text, and other
    # folders are a run's or of other projects.
    prose = re.sub(r'\[[^]]*\]\([^)]*\)', '', text)
    for code in re.findall(r'`([a-z_0-9./]+/[a-z_0-9.]+)`', prose):
        first = code.partition('/')[0]
        homes = [home for home in (ROOT, ROOT / 'mmsamdistill') if (home / first).is_dir()]
        if homes and first != 'work_dirs':
            yield next((home / code for home in homes if (home / code).exists()), ROOT / code)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_every_file_that_is_named_exists(document):
    assert [path for path in paths_of(document) if not path.exists()] == []


def anchors_of(path):
    """Anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r'^```.*?^```', '', path.read_text(), flags=re.M | re.S)
    for title in re.findall(r'^#+ (.*)', text, re.M):
        words = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', title)
        yield re.sub(r'[^\w\- ]', '', words).strip().lower().replace(' ', '-')


@pytest.mark.parametrize('document', DOCUMENTS)
def test_every_anchor_is_a_heading(document):
    page = ROOT / document
    for link, anchor in re.findall(r'\]\(([^)#:]*)#([^)]+)\)', page.read_text()):
        target = page.parent / link if link else page
        assert anchor in set(anchors_of(target)), f'{document}: {link}#{anchor}'


def test_links_to_other_sites_are_of_a_form_that_was_looked_at():
    form = re.compile(
        r'https://(github\.com/[\w-]+/[\w-]+(/blob/main/[\w/.-]+)?|arxiv\.org/abs/\d{4}\.\d{5}'
        r'|keepachangelog\.com/en/1\.1\.0/|semver\.org/spec/v2\.0\.0\.html)'
    )
    pages = [ROOT / 'CITATION.cff', *map(ROOT.joinpath, DOCUMENTS)]
    pages += ROOT.glob('configs/*/README.md')
    links = [
        link for page in pages for link in re.findall(r'\bhttps?:[^\s)>`"]+', page.read_text())
    ]
    assert len(links) > 20
    assert not [link for link in links if not form.fullmatch(link)]


def test_formulas_of_several_lines_are_aligned_and_words_are_upright():
    spec = importlib.util.spec_from_file_location('site_settings', ROOT / 'docs/conf.py')
    settings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings)
    shown = settings.to_mathml(r'F &= SPF(x) \\ L &= \lambda C H W')
    assert shown.count('<mtr>') == 2
    assert '>&<' not in shown
    upright = re.findall('<mi mathvariant="normal">(.)</mi>', shown)
    assert upright == ['S', 'P', 'F']


def test_files_are_named():
    assert sum(1 for document in DOCUMENTS for _ in paths_of(document)) > 100


def test_every_target_of_make_that_is_named_exists():
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'\bmake ([a-z]+)', (ROOT / 'CONTRIBUTING.md').read_text()):
        assert f'\n{target}:' in makefile, target


def test_the_picture_shows_the_floors_in_their_order():
    picture = (ROOT / 'docs/architecture.svg').read_text()
    shown = re.findall(r'font-weight="bold">([^<]+)<', picture)
    names = [name for row in reversed(shown) for name in row.split(', ')]
    # Neither the version's number nor the entry point is a floor to stand on.
    expected = [name for name in FLOORS if name not in ('version', 'command_line')]
    assert names == expected


def test_hosts_and_commits_run_what_everybody_runs():
    workflow = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())
    commands = [step.get('run', '') for step in workflow['jobs']['ci']['steps']]
    assert any(command.endswith('.ci/run') for command in commands)
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    assert [hook['entry'] for hook in config['repos'][0]['hooks']] == ['make lint']


def test_every_package_with_public_names_has_its_page_on_the_site():
    packages = [path.parent for path in (ROOT / 'mmsamdistill').glob('*/__init__.py')]
    public = {path.name for path in packages if '__all__ = [' in (path / '__init__.py').read_text()}
    pages = {path.stem: path.read_text() for path in (ROOT / 'docs/api').glob('*.md')}
    assert set(pages) == public
    assert all(f'.. automodule:: mmsamdistill.{name}\n' in text for name, text in pages.items())
