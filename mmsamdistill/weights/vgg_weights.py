"""Finding and reading torchvision's VGG weights, without executing anything they contain."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def read_vgg_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.load`` understands.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold a state dict of tensors.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, 'vgg.pth')
        ...     torch.save({'features.0.bias': torch.zeros(64)}, path)
        ...     list(read_vgg_weights(path))
        ['features.0.bias']

    Source: ours.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no VGG weights at {str(path)!r}; give the path of a .pth or .safetensors file of '
            "torchvision's VGG, or 'imagenet' to download them"
        )
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    weights = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ValueError(f"{str(path)!r} does not hold a plain state dict of torchvision's VGG")
    return weights


def imagenet_weights(depth: int) -> dict[str, Tensor]:
    """Read torchvision's ImageNet weights, downloading them into PyTorch's cache if need be.

    Args:
        depth: 16 or 19.

    Returns:
        The whole network's tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If the weights are not in the cache and cannot be downloaded.

    Source: ours.
    """
    from torchvision.models import VGG16_Weights, VGG19_Weights

    url = {16: VGG16_Weights, 19: VGG19_Weights}[depth].IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(url).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # The file's name ends in the first digits of its hash.
        digest = path.stem.rpartition('-')[2]
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)
        except OSError as error:
            raise FileNotFoundError(
                f'the pretrained weights of VGG-{depth} could not be downloaded ({error}). '
                f'Download {url} where that is possible, and put it at {path} or give its path: '
                f"analyzer=dict(type='VGGAnalyzer', weights='/path/to/{path.name}')"
            ) from error
    return read_vgg_weights(path)
