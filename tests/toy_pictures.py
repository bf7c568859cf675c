"""Folders of small pictures to compare: a truth, and noise of known strength upon it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

KEYS = ('cat', 'night/dog', 'ox')
# Of model 'b'; model 'a' has 20 everywhere: b gains most on cat, loses most on the dog.
STRENGTHS = {'cat': 5, 'night/dog': 60, 'ox': 18}
SHAPE = (40, 50)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(path.suffix, np.ascontiguousarray(picture[..., ::-1]))[1]
    path.write_bytes(data.tobytes())


def read_rgb(path: Path) -> np.ndarray:
    """Read an RGB picture, by Pillow, which the package does not use."""
    from PIL import Image

    return np.asarray(Image.open(path).convert('RGB'))


def make_folders(root: Path, keys: tuple[str, ...] = KEYS) -> Path:
    """Write the folders truth, degraded, a and b."""
    for number, key in enumerate(keys):
        generator = np.random.default_rng(number)
        truth = generator.integers(0, 256, (*SHAPE, 3))
        strengths = {'truth': 0, 'degraded': 90, 'a': 20, 'b': STRENGTHS.get(key, 10)}
        for name, strength in strengths.items():
            noise = generator.integers(-strength, strength + 1, truth.shape)
            write_picture(root / name / f'{key}.png', (truth + noise).clip(0, 255).astype(np.uint8))
    return root


def folders(root: Path, *names: str) -> dict[str, Path]:
    """Folders by column."""
    return {name: root / name for name in names or ('degraded', 'a', 'b', 'truth')}


def make_model(root: Path) -> str:
    """Write a config and weights, and return them as ``--model`` takes them."""
    import torch
    from mmengine.config import Config
    from toy import plain_model

    from mmsamdistill.deploy.export import build_model

    step = {'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}
    cfg = Config({'model': plain_model(), 'test_pipeline': [step]})
    cfg.dump(root / 'plain.py')
    torch.manual_seed(0)
    torch.save({'state_dict': build_model(cfg).state_dict()}, root / 'weights.pth')
    return f'net={root / "plain.py"},{root / "weights.pth"}'
