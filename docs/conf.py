"""The documentation as a site, for `make docs`: its pages are the Markdown files of the repository.

README.md is the front page. Links between files work on the site as they do in the repository.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

from mmsamdistill import __version__

ROOT = Path(__file__).resolve().parents[1]


def pages(pattern: str) -> list[str]:
    """Return the names of the pages that fit, from the repository's root."""
    return sorted(str(path.relative_to(ROOT).with_suffix('')) for path in ROOT.glob(pattern))


# Entries of the header: the page each one leads to, and the pages in its sidebar.
SECTIONS = {
    'Guide': [
        *('docs/start', 'docs/install', 'docs/your_data', 'docs/your_restorer'),
        *('docs/region_sources', 'docs/data', 'docs/deploy'),
        *('docs/distributed', 'docs/troubleshooting', 'docs/versions'),
    ],
    'Recipes': ['docs/recipes', *pages('configs/*/README.md')],
    'Measured': [
        'docs/results',
        'docs/robustness',
        'benchmarks/README',
        *pages('benchmarks/*/reports/*.md'),
    ],
    'Project': ['docs/architecture', 'CONTRIBUTING', 'CHANGELOG'],
    'API': ['docs/api', *pages('docs/api/*.md')],
}

project = html_title = 'mmsamdistill'
copyright = 'mmsamdistill contributors, Apache 2.0'
release = version = __version__

root_doc = 'README'
include_patterns = ['*.md', 'docs/**.md', 'benchmarks/**.md', 'configs/**.md']
exclude_patterns = ['.*', 'build', 'data', 'work_dirs', 'tests']
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
myst_heading_anchors = 3
napoleon_custom_sections = ['Shape', 'Source']
# Arguments, with their defaults and units, are described in the docstrings.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'

html_math_renderer = 'mathml'  # the default fetches MathJax from a server at every look
html_theme = 'pydata_sphinx_theme'
html_copy_source = False
html_extra_path = ['index.html']
html_static_path = html_css_files = ['site.css']
html_theme_options = {
    'show_prev_next': False,
    'secondary_sidebar_items': ['page-toc'],
    'footer_start': ['copyright'],
    'footer_end': [],
}


def prepare_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Add what a Markdown file does not say of itself: the navigation, and what a folder shows."""
    folder = (ROOT / name).parent

    def of_folder(link: re.Match[str]) -> str:
        text, target = link.groups()
        if not (folder / target).is_dir():
            return link[0]
        # A folder without a page of its own is no place of the site.
        page = Path(target, 'README.md')
        return f'[{text}]({page})' if (folder / page).is_file() else text

    source[0] = re.sub(r'\[([^]]+)\]\(([^):#]+)\)', of_folder, source[0])
    if not re.search(r'^# ', source[0], re.M):
        # Tables that a tool wrote are pages too.
        source[0] = f'# {Path(name).stem.replace("_", " ")}\n\n{source[0]}'
    if name == root_doc:
        source[0] += toctree(*(f'{title} </{names[0]}>' for title, names in SECTIONS.items()))
    for head, *others in SECTIONS.values():
        if name == head:
            source[0] += toctree(*(f'/{each}' for each in others))


def toctree(*entries: str) -> str:
    """Write the navigation below a page, which does not show it."""
    return '\n'.join(['', '```{toctree}', ':hidden:', *entries, '```', ''])


def to_mathml(formula: str, display: str = 'inline') -> str:
    """Return what browsers show by themselves; words are names there, not products of letters."""
    named = re.sub(r'(?<![\\A-Za-z])(?![NCHW]+\b)[A-Za-z]{2,}', r'\\mathrm{\g<0>}', formula)
    if '&' in named:
        named = rf'\begin{{align*}}{named}\end{{align*}}'
    return convert(named, display=display)


def write_formula(translator: Any, node: nodes.Node) -> None:
    """Write a formula as MathML, a block of its own so that it can be scrolled."""
    if isinstance(node, nodes.math_block):
        translator.body.append(f'<p class="formula">{to_mathml(node.astext(), "block")}</p>')
    else:
        translator.body.append(to_mathml(node.astext()))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Let Sphinx prepare every page."""
    app.connect('source-read', prepare_page)
    app.add_html_math_renderer('mathml', (write_formula, None), (write_formula, None))
