"""Where in MMagic's source each registered name is registered, found without importing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Sub-packages that MMagic's registries name as their locations.
SEARCHED = ('models', 'datasets', 'engine', 'evaluation', 'visualization')
CALL = re.compile(r'^(@?)(\w+)\.register_module\(([^)]*)\)?', re.MULTILINE)
DEFINED = re.compile(r'^(?:class|def)\s+(\w+)', re.MULTILINE)
QUOTED = re.compile(r'[\'"]([^\'"]+)[\'"]')


def registered_names(source: str) -> Iterator[tuple[str, str]]:
    r"""Find the registrations at the top level of a module.

    Yields:
        The registry's variable and the registered name.

    Example:
        >>> list(registered_names("@MODELS.register_module()\nclass Net:\n    pass\n"))
        [('MODELS', 'Net')]
    """
    for call in CALL.finditer(source):
        decorator, registry, arguments = call.groups()
        names = QUOTED.findall(arguments)
        if not names and decorator:
            defined = DEFINED.search(source, call.end())
            names = [defined.group(1)] if defined else []
        yield from ((registry, name) for name in names)


@cache
def registration_index(root: str) -> dict[tuple[str, str], str]:
    """Map every (registry variable, name) of MMagic to the module that registers it.

    Reading the text of all modules takes a few hundredths of a second, importing them half a
    minute; editors' files that no ``__init__`` lists are found as well.
    """
    index: dict[tuple[str, str], str] = {}
    for folder in SEARCHED:
        for path in sorted(Path(root, folder).rglob('*.py')):
            content = path.read_bytes()
            if b'.register_module(' not in content:
                continue
            parts = path.relative_to(root).with_suffix('').parts
            module = '.'.join(('mmagic', *parts)).removesuffix('.__init__')
            for key in registered_names(content.decode('utf-8')):
                index.setdefault(key, module)
    return index
