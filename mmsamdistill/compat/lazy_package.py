"""Packages whose ``__init__`` only gathers names: gather each name when it is asked for."""

import ast
import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mmsamdistill.version import package_version

_failures: dict[str, str] = {}


@dataclass
class PackageTable:
    """What a package's ``__init__`` would do, read from its syntax tree."""

    # By name the submodule and the name there, of ``from .x import y``.
    exports: dict[str, tuple[str, str]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)  # submodules of ``from .x import *``
    public: list[str] | None = None  # the literal ``__all__``, if there is one
    own: list[ast.stmt] = field(default_factory=list)  # every other statement
    body: list[ast.stmt] = field(default_factory=list)  # all statements in order


@cache
def read_table(path: str) -> PackageTable:
    """Read a package's ``__init__`` without executing it."""
    table = PackageTable(body=ast.parse(Path(path).read_bytes()).body)
    for node in table.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            for alias in node.names:
                if alias.name == '*':
                    table.stars.append(node.module)
                else:
                    table.exports[alias.asname or alias.name] = (node.module, alias.name)
        elif isinstance(node, ast.Assign) and ast.unparse(node).startswith('__all__ = '):
            table.public = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            table.own.append(node)
    return table


class LazyPackage(ModuleType):
    """A package that imports a submodule when a name of it is first used."""

    # Its attributes, dir() and submodules are those of the package as its author wrote it; only the
    # moment of import differs.

    def __getattr__(self, name: str) -> Any:
        """Import what ``name`` stands for and keep it."""
        table: PackageTable = self.__dict__['_lazy_table']
        if name == '__all__':
            return self._importable_names()
        if name in table.exports:
            source, attribute = table.exports[name]
        elif star := self._star_with(name):
            source, attribute = star, name
        else:
            return self._submodule_or_own(name)
        value = getattr(self._import(source), attribute)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep ``from .niqe import niqe`` the function when the submodule ``niqe`` is bound."""
        source, attribute = self.__dict__['_lazy_table'].exports.get(name, ('', ''))
        if source == name and getattr(value, '__name__', '') == f'{self.__name__}.{name}':
            value = getattr(value, attribute)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """Name all that can be asked for."""
        return sorted({*self.__dict__, *self.static_names()})

    def static_names(self) -> list[str]:
        """Names the package offers, without importing any."""
        table: PackageTable = self.__dict__['_lazy_table']
        stars = [name for star in table.stars for name in _public_names(self, star)]
        return list(dict.fromkeys([*(table.public or []), *table.exports, *stars]))

    def run_own_statements(self) -> None:
        """Execute the ``__init__`` as written, except that an import which fails is left out."""
        failures = []
        for node in self._lazy_table.body:
            code = compile(ast.Module([node], []), self.__file__, 'exec', dont_inherit=True)
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                try:
                    exec(code, self.__dict__)
                except Exception as error:
                    failures.append(error)
                    remember_failure(f'{self.__name__}.{node.module}', error)
            else:
                exec(code, self.__dict__)

    def _import(self, submodule: str) -> ModuleType:
        name = f'{self.__name__}.{submodule}'
        try:
            return importlib.import_module(name)
        except MissingDependencyError:
            raise
        except Exception as error:
            reason = remember_failure(name, error)
            raise MissingDependencyError(f'{name} cannot be imported: {reason}') from error

    def _star_with(self, name: str) -> str | None:
        if name.startswith('_'):
            return None
        stars = self._lazy_table.stars
        return next((star for star in stars if name in _public_names(self, star)), None)

    def _submodule_or_own(self, name: str) -> Any:
        full = f'{self.__name__}.{name}'
        if full in sys.modules:
            return sys.modules[full]
        if not name.startswith('_'):
            if importlib.util.find_spec(full) is not None:
                return self._import(name)
            if any(name in _bound_names(node) for node in self._lazy_table.own):
                self.run_own_statements()
                return self.__dict__[name]
        raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')

    def _importable_names(self) -> list[str]:
        table: PackageTable = self.__dict__['_lazy_table']
        names = table.public if table.public is not None else self.static_names()
        return [name for name in names if _can_get(self, name)]


def _can_get(package: LazyPackage, name: str) -> bool:
    try:
        return hasattr(package, name)
    except ImportError:
        return False


def _public_names(package: ModuleType, submodule: str) -> list[str]:
    folder = Path(package.__file__).parent.joinpath(*submodule.split('.'))
    init = folder / '__init__.py'
    if not init.is_file():
        return []
    table = read_table(str(init))
    if table.public is not None:
        return table.public
    stars = (folder.joinpath(*star.split('.'), '__init__.py') for star in table.stars)
    deeper = [n for s in stars if s.is_file() for n in read_table(str(s)).public or []]
    return [name for name in (*table.exports, *deeper) if not name.startswith('_')]


def _bound_names(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition('.')[0] for alias in node.names}
    return {
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


class MissingDependencyError(ImportError):
    """A part of MMagic was asked for that cannot be imported here.

    MMagic's own behaviour is to fail as a whole, or to say that the name is not registered.
    """


def explain(error: BaseException) -> str:
    """Say in one sentence what an import error means."""
    message = (str(error).strip().splitlines() or [''])[0]
    if 'mmcv._ext' in message or 'mmcv.ops' in message:
        return "it needs mmcv's compiled operators, which only the full mmcv has"
    module = getattr(error, 'name', None) or ''
    package = module.partition('.')[0]
    if isinstance(error, ModuleNotFoundError) and module and module == package:
        return f'the package {package!r} is not installed'
    if isinstance(error, ImportError) and package and package != 'mmagic':
        found = package_version(package) or '(version unknown)'
        return f'{package} {found} is too old or too new for MMagic 1.2: {message}'
    return f'{type(error).__name__}: {message}'


def remember_failure(module: str, error: BaseException) -> str:
    """Note why ``module`` cannot be imported."""
    return _failures.setdefault(module, explain(error))
