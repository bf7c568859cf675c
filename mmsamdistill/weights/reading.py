"""Reading checkpoint files without executing what they contain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsamdistill.compat import CheckpointError, load_checkpoint_file


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint from disk onto the CPU.

    Files ending in ``.safetensors`` are read as such, everything else by ``torch.load`` with
    ``weights_only=True``: a checkpoint is data, and reading one must not run code. There is no
    fallback.

    Args:
        path: A ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file.

    Returns:
        The checkpoint as it was saved, in any dialect; see
        :func:`~mmsamdistill.weights.find_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, is no checkpoint, or holds a type that is refused.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({'params': {'bias': torch.ones(2)}}, Path(folder, 'net.pth'))
        ...     read_checkpoint(Path(folder, 'net.pth'))
        {'params': {'bias': tensor([1., 1.])}}

    Source: ours.
    """
    content = load_checkpoint_file(path, map_location='cpu')
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{path} is no checkpoint: it holds {type(content).__name__} instead of a dict of '
            'weights'
        )
    return dict(content)
