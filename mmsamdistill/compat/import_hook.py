"""One import hook for what must happen while a module of MMagic or MMEngine is being imported."""

import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mmsamdistill.compat.lazy_package import LazyPackage, read_table
from mmsamdistill.compat.source_patches import SOURCE_PATCHES, amended

# Packages whose __init__ does more than gather names: it registers all of diffusers. They are lazy
# too, and what they do beyond gathering happens when something registered by it is asked for.
DEFERRED = frozenset({'mmagic.models.archs', 'mmagic.models.diffusion_schedulers'})
Original = Callable[..., Any]
"""What a remedy takes the place of, handed to it as its first argument."""
AFTER_IMPORT: dict[str, list[Callable[[ModuleType], None]]] = {}
_STAND_INS: list[tuple[str, str, Callable[..., Any]]] = []


class CompatLoader(SourceFileLoader):
    """Loads a package lazily, a module from its amended source, and hands it to its remedies."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute, unless it is a package that only gathers names; then amend."""
        if _is_lazy(module.__spec__):
            module.__dict__['_lazy_table'] = read_table(self.path)
            module.__class__ = LazyPackage
        else:
            super().exec_module(module)
        for amend in AFTER_IMPORT.get(module.__name__, ()):
            amend(module)

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code; of amended source nothing is written to disk."""
        if fullname not in SOURCE_PATCHES:
            return super().get_code(fullname)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SyntaxWarning)  # the module's own, seen once already
            warnings.simplefilter('ignore', DeprecationWarning)
            source = amended(fullname, self.get_data(self.path))
            return compile(source, self.path, 'exec', dont_inherit=True)


class CompatFinder(importlib.abc.MetaPathFinder):
    """Chooses the loader above for the modules concerned, and leaves all others alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for MMagic and the few amended modules only."""
        inside = fullname.startswith('mmagic.')
        if not (inside or fullname in SOURCE_PATCHES or fullname in AFTER_IMPORT):
            return None
        spec = _ordinary_spec(fullname, path, target)
        # Anything but a plain source file (a zip, a frozen module) is imported as it is.
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = CompatLoader(spec.loader.name, spec.loader.path)
        return spec


def _ordinary_spec(
    fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if isinstance(finder, CompatFinder) or not hasattr(finder, 'find_spec'):
            continue
        spec = finder.find_spec(fullname, path, target)
        if spec is not None:
            return spec
    return None


def _is_lazy(spec: ModuleSpec) -> bool:
    inner_package = spec.submodule_search_locations is not None and spec.name.startswith('mmagic.')
    return inner_package and (spec.name in DEFERRED or not read_table(spec.origin).own)


def install_import_hook() -> None:
    """Load MMagic's packages lazily, and amend single modules as they are imported."""
    # mmagic.models (to 1.2.0) imports all of its 60 editors, and with them diffusers, transformers
    # and compiled operators, to build one network; where one import fails, nothing can be used.
    # mmagic.datasets and mmagic.evaluation import albumentations, PyAV and LPIPS unasked. A package
    # is loaded lazily only if its __init__ does nothing but gather names, or is DEFERRED.
    if not any(isinstance(finder, CompatFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, CompatFinder())


def after_import(name: str, amend: Callable[[ModuleType], None]) -> None:
    """Have ``amend`` called on a module once it is imported; at once if it already is."""
    AFTER_IMPORT.setdefault(name, []).append(amend)
    if name in sys.modules:
        amend(sys.modules[name])


def in_place_of(module: str, name: str) -> Callable[[Callable], Callable]:
    """Mark a remedy ``wrapper(original, *arguments)`` of a function or method of a module."""

    def mark(wrapper: Callable[..., Any]) -> Callable[..., Any]:
        _STAND_INS.append((module, name, wrapper))
        return wrapper

    return mark


def put_in_place() -> None:
    """Have all remedies marked by :func:`in_place_of` take the place of what they are of."""
    for stand_in in _STAND_INS:
        wrap_after_import(*stand_in)


def wrap_after_import(module: str, name: str, wrapper: Callable[..., Any]) -> None:
    """Have ``wrapper(original, *arguments)`` take the place of a function or method of a module."""

    def amend(loaded: ModuleType) -> None:
        *path, last = name.split('.')
        owner: Any = functools.reduce(getattr, path, loaded)
        original = getattr(owner, last)

        @functools.wraps(original)
        def new(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        # A static or class method is called without what it was looked up in.
        plain = isinstance(inspect.getattr_static(owner, last), FunctionType)
        setattr(owner, last, new if plain else staticmethod(new))
        if not path:
            replace_in_modules(module.partition('.')[0], original, new)

    after_import(module, amend)


def replace_in_modules(package: str, old: object, new: object) -> None:
    """Rebind ``old`` to ``new`` in every loaded module of ``package`` that imported it by name."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f'{package}.'):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)
