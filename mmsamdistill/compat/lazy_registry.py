"""MMagic's registries, made to import the module that registers a name when it is asked for."""

import contextlib
import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from mmengine.registry import Registry

from mmsamdistill.compat.lazy_package import MissingDependencyError, remember_failure

# What MMagic wraps and registers from diffusers: by registry, the package of MMagic that does it
# and the sub-packages of diffusers it takes.
FROM_DIFFUSERS = {
    'MODELS': ('mmagic.models.archs', ('models', 'pipelines')),
    'DIFFUSION_SCHEDULERS': ('mmagic.models.diffusion_schedulers', ('schedulers',)),
}
# The classes of diffusers that MMagic's configs name, to tell them from misspelt names without it.
DIFFUSERS_NAMES = re.compile(
    r'AutoencoderKL|ControlNetModel|DiffusionPipeline|UNet\dD\w*Model|\w+Scheduler'
)
# Importing MMagic's models also imported these, which register layers in MMEngine's registry.
BROUGHT_ALONG = {'MODELS': ('mmcv.cnn', 'mmcv.ops'), 'TRANSFORMS': ('mmcv.transforms',)}
# Sub-packages that MMagic's registries name as their locations.
SEARCHED = ('models', 'datasets', 'engine', 'evaluation', 'visualization')
CALL = re.compile(r'^(@?)(\w+)\.register_module\(([^)]*)\)?', re.MULTILINE)
DEFINED = re.compile(r'^(?:class|def)\s+(\w+)', re.MULTILINE)
QUOTED = re.compile(r'[\'"]([^\'"]+)[\'"]')
# Parts of this package that derive from MMagic's models: (variable, name) to the module.
_LATE: dict[tuple[str, str], str] = {}


class LazyRegistry(Registry):
    """A registry of MMagic that loads what it is asked for, and explains what it cannot load."""

    # get() raises MissingDependencyError for a part whose import fails, and KeyError with
    # suggestions for a name close to a known one; any other unknown name gives None as in MMEngine.
    # Never constructed: existing registries are turned into it.

    variable: str
    root_folder: str

    def get(self, key: str) -> type | None:
        """Return the class registered as ``key``, importing its module first if need be."""
        scope, name = self.split_scope_key(key) if isinstance(key, str) else ('', '')
        own = scope in (None, self._scope) and '.' not in name
        if own:
            self._provide(name, with_parents=scope is None)
        found = super().get(key)
        if own and found is None:
            self._suggest(name)
        return found

    def __contains__(self, key: str) -> bool:
        """Say whether ``key`` can be had."""
        try:
            return self.get(key) is not None
        except (KeyError, MissingDependencyError):
            return False

    def known_names(self) -> list[str]:
        """Every name that is registered, or would be by importing MMagic's modules."""
        index = {**registration_index(self.root_folder), **_LATE}
        names = {name for variable, name in index if variable == self.variable}
        registry: Registry | None = self
        while registry is not None:
            names.update(registry.module_dict)
            registry = registry.parent
        return sorted(names)

    def _register_module(
        self, module: type, module_name: str | list[str] | None = None, force: bool = False
    ) -> None:
        # MMagic's modules now register late, some a second time after a failed import. The user's
        # class of the same name, registered before, stays; MMagic's own is replaced by itself.
        if not force and _from_mmagic(module):
            given = [module_name] if isinstance(module_name, str) else module_name
            names = given or [module.__name__]
            taken = {name: self._module_dict[name] for name in names if name in self._module_dict}
            module_name = [n for n in names if n not in taken or _same(taken[n], module)]
            kept_elsewhere = [n for n in taken if n not in module_name]
            if any(_from_mmagic(taken[n]) for n in kept_elsewhere):
                module_name = names  # two different modules of MMagic: MMEngine's error
            else:
                force = True
        super()._register_module(module, module_name, force)

    def _provide(self, name: str, with_parents: bool) -> None:
        if name in self._module_dict:
            return
        key = (self.variable, name)
        source = registration_index(self.root_folder).get(key)
        if key in _LATE:
            importlib.import_module(_LATE[key])
        elif source is not None:
            self._import(name, source, importlib.import_module)
        elif not (with_parents and self._in_parents(name)):
            self._provide_from_diffusers(name)
            self._bring_along(name)

    def _import(self, name: str, source: str, load: Callable[[str], object]) -> None:
        try:
            load(source)
        except Exception as error:
            reason = remember_failure(source, error)
            raise MissingDependencyError(
                f'{name!r} is a part of MMagic ({source}) that cannot be imported here: {reason}',
                name=getattr(error, 'name', None),
            ) from error

    def _in_parents(self, name: str) -> bool:
        registry = self.parent
        while registry is not None:
            if name in registry.module_dict:
                return True
            registry = registry.parent
        return False

    def _provide_from_diffusers(self, name: str) -> None:
        package, parts = FROM_DIFFUSERS.get(self.variable, ('', ()))
        missing = bool(parts) and importlib.util.find_spec('diffusers') is None
        if missing and DIFFUSERS_NAMES.fullmatch(name) and name not in self.known_names():
            raise MissingDependencyError(
                f'{name!r} is a class of the package diffusers, which is not installed',
                name='diffusers',
            )
        if any(_diffusers_mentions(part, name) for part in parts):
            self._import(name, package, lambda n: importlib.import_module(n).run_own_statements())

    def _bring_along(self, name: str) -> None:
        for module in BROUGHT_ALONG.get(self.variable, ()):
            if not self._in_parents(name):
                with contextlib.suppress(ImportError):  # mmcv-lite has no mmcv.ops
                    importlib.import_module(module)

    def _suggest(self, name: str) -> None:
        near = difflib.get_close_matches(name, self.known_names(), n=3, cutoff=0.75)
        if near:
            raise KeyError(
                f'{name!r} is not in the {self.scope}::{self.name} registry. '
                f'Did you mean {" or ".join(repr(n) for n in near)}?'
            )


def _from_mmagic(module: object) -> bool:
    return str(getattr(module, '__module__', '')).startswith('mmagic.')


def _same(one: object, other: object) -> bool:
    names = ('__module__', '__qualname__')
    return all(getattr(one, name, None) == getattr(other, name, None) for name in names)


def _diffusers_mentions(part: str, name: str) -> bool:
    # Importing diffusers takes many seconds, which a misspelt name should not cost.
    spec = importlib.util.find_spec('diffusers')
    if spec is None or spec.origin is None:
        return False
    init = Path(spec.origin).parent / part / '__init__.py'
    pattern = rf'\b{re.escape(name)}\b'
    return init.is_file() and re.search(pattern, init.read_text('utf-8')) is not None


def register_late(variable: str, name: str, module: str) -> None:
    """Announce a part whose module is imported when the part is first asked for.

    Reason: a class that derives from one of MMagic's models cannot be defined without importing
    MMagic's models, which ``import mmsamdistill`` does not.

    Args:
        variable: The registry's name in ``mmagic.registry``, for example 'MODELS'.
        name: The name that the module registers there.
        module: Full name of the module.
    """
    _LATE[variable, name] = module


def make_registries_lazy(module: ModuleType) -> None:
    """Turn the registries of ``mmagic.registry`` into :class:`LazyRegistry`, in place."""
    # With the import hook, importing mmagic.models registers nothing, so the registry finds the
    # module of a name. In place, since MMagic's modules and the user's have imported the objects.
    folder = str(Path(sys.modules['mmagic'].__file__).parent)
    for variable, registry in vars(module).items():
        if type(registry) is Registry and registry.scope == 'mmagic':
            registry.__class__ = LazyRegistry
            registry.variable = variable
            registry.root_folder = folder


def registered_names(source: str) -> Iterator[tuple[str, str]]:
    """Find the registrations at the top level of a module."""
    for call in CALL.finditer(source):
        decorator, registry, arguments = call.groups()
        names = QUOTED.findall(arguments)
        if not names and decorator:
            defined = DEFINED.search(source, call.end())
            names = [defined.group(1)] if defined else []
        yield from ((registry, name) for name in names)


@cache
def registration_index(root: str) -> dict[tuple[str, str], str]:
    """Map every (registry variable, name) of MMagic to the module that registers it."""
    # Reading the text of all modules takes hundredths of a second, importing them half a minute;
    # editors' files that no __init__ lists are found as well.
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
