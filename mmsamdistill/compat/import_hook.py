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
from mmsamdistill.compat.source_patches import SOURCE_PATCHES

# Packages whose __init__ does more than gather names: it registers all of diffusers. They are lazy
# too, and what they do beyond gathering happens when something registered by it is asked for.
DEFERRED = frozenset({'mmagic.models.archs', 'mmagic.models.diffusion_schedulers'})
Original = Callable[..., Any]
"""What a remedy takes the place of, handed to it as its first argument."""
AFTER_IMPORT: dict[str, list[Callable[[ModuleType], None]]] = {}


class LazyPackageLoader(SourceFileLoader):
    """Creates a package as :class:`LazyPackage` instead of executing its ``__init__``."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the package with its table."""
        table = read_table(self.path)
        module.__dict__['_lazy_table'] = table
        module.__class__ = LazyPackage


class PatchedSourceLoader(SourceFileLoader):
    """Compiles a module from its amended source; nothing is written to disk."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the amended module's code."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SyntaxWarning)  # the module's own, seen once already
            warnings.simplefilter('ignore', DeprecationWarning)
            source = SOURCE_PATCHES[fullname](self.get_data(self.path))
            return compile(source, self.path, 'exec', dont_inherit=True)


class CallbackLoader(SourceFileLoader):
    """Loads a module as usual, then hands it to the function registered for it."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute, then amend."""
        super().exec_module(module)
        for amend in AFTER_IMPORT[module.__name__]:
            amend(module)


class CompatFinder(importlib.abc.MetaPathFinder):
    """Chooses one of the loaders above for the modules concerned, and leaves all others alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for MMagic's packages and the few amended modules only."""
        inside = fullname.startswith('mmagic.')
        if not (inside or fullname in SOURCE_PATCHES or fullname in AFTER_IMPORT):
            return None
        spec = _ordinary_spec(fullname, path, target)
        # Anything but a plain source file (a zip, a frozen module) is imported as it is.
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        loader = _choose_loader(fullname, spec)
        if loader is None:
            return None
        spec.loader = loader(spec.loader.name, spec.loader.path)
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


def _choose_loader(fullname: str, spec: ModuleSpec) -> type[SourceFileLoader] | None:
    if fullname in SOURCE_PATCHES:
        return PatchedSourceLoader
    if fullname in AFTER_IMPORT:
        return CallbackLoader
    if spec.submodule_search_locations is None:
        return None
    if fullname in DEFERRED or not read_table(spec.origin).own:
        return LazyPackageLoader
    return None


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


def wrap_after_import(module: str, name: str, wrapper: Callable[..., Any]) -> None:
    """Have ``wrapper(original, *arguments)`` take the place of a function or method of a module."""

    def amend(loaded: ModuleType) -> None:
        *path, last = name.split('.')
        owner: Any = functools.reduce(getattr, path, loaded)
        new: Any = wrapped(getattr(owner, last), wrapper)
        # A static or class method is called without what it was looked up in.
        plain = isinstance(inspect.getattr_static(owner, last), FunctionType)
        setattr(owner, last, new if plain else staticmethod(new))

    after_import(module, amend)


def wrapped(original: Original, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """The function that calls ``wrapper(original, *arguments)``, under the original's name."""

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    return function


def replace_in_modules(package: str, old: object, new: object) -> None:
    """Rebind ``old`` to ``new`` in every loaded module of ``package`` that imported it by name."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f'{package}.'):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)
