"""The package's version, read by setup.py without importing the package, and other packages."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

__version__ = '0.1.0'


def package_version(name: str) -> str | None:
    """Version of an installed distribution; None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@contextmanager
def needs(what: str) -> Iterator[None]:
    """Say around an import of an optional package what is needed, should it not be there."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{what} ({error})') from error
