"""The package's version, read by setup.py without importing the package, and others'."""

from importlib.metadata import PackageNotFoundError, version

__version__ = '0.1.0'


def package_version(name: str) -> str | None:
    """Version of an installed distribution; None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
