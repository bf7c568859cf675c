"""Importing what a configuration names."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_from(path: str, argument: str, names: str = '') -> Any:
    """Import what a configuration names.

    Args:
        path: Import path such as ``'package.module.function'``; the last parts may also be
            attributes or keys of a mapping (``'mobile_sam.sam_model_registry.vit_t'``).
        argument: The configuration's argument, for the message.
        names: What may be given instead of a path, for the message. Default: nothing.

    Returns:
        What is there.

    Raises:
        ImportError: If there is nothing of that name.
        ValueError: If it is not a path.

    Example:
        >>> import_from('json.dumps', 'builder')([1])
        '[1]'
    """
    parts = path.split('.')
    if len(parts) < 2 or not all(parts):
        choices = f'{names}, a class' if names else 'a function'
        raise ValueError(
            f'unknown {argument} {path!r}; choose {choices} or the import path of one, e.g. '
            f"'package.module.name'"
        )
    for end in range(len(parts) - 1, 0, -1):
        name = '.'.join(parts[:end])
        try:
            found = import_module(name)
        except ModuleNotFoundError as error:
            # Only what is asked for may be missing, not something that it imports itself.
            if error.name is not None and (name == error.name or name.startswith(f'{error.name}.')):
                continue
            raise
        try:
            for part in parts[end:]:
                found = found[part] if isinstance(found, dict) else getattr(found, part)
        except (AttributeError, KeyError):
            raise ImportError(
                f'{argument}={path!r}: {name} has no {".".join(parts[end:])}'
            ) from None
        return found
    raise ImportError(f'{argument}={path!r}: there is no module {parts[0]}; install it')
