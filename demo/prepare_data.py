"""Make the demo's data set from the photographs that scikit-image's wheel carries."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from mmsamdistill.files import write_atomically

# Photographs of the wheel itself: nothing is downloaded. The two held out share nothing with the
# others (the second picture of the stereo pair would).
TRAINING = {
    'astronaut': skimage.data.astronaut,
    'coffee': skimage.data.coffee,
    'motorcycle': lambda: skimage.data.stereo_motorcycle()[0],
    'tissue': skimage.data.immunohistochemistry,
}
HELD_OUT = {'chelsea': skimage.data.chelsea, 'rocket': skimage.data.rocket}
SIGMA = 50.0  # standard deviation of the noise, on the scale of 0 to 255


def write_image(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB image losslessly; a kill leaves no half file behind."""
    write_atomically(path, cv2.imencode(path.suffix, rgb[..., ::-1])[1].tobytes())


def add_noise(rgb: np.ndarray, seed: int) -> np.ndarray:
    """Add white Gaussian noise, rounded and clipped as an 8-bit file is."""
    noise = np.random.default_rng(seed).normal(0.0, SIGMA, rgb.shape)
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def main() -> None:
    """Write train/gt, test/gt and test/noisy; training noise is drawn anew for every crop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='folder of the data set')
    out = parser.parse_args().out
    for name, load in TRAINING.items():
        # Not compressed: whole photographs are decoded for every crop.
        write_image(out / 'train' / 'gt' / f'{name}.bmp', load())
    for seed, (name, load) in enumerate(HELD_OUT.items()):
        write_image(out / 'test' / 'gt' / f'{name}.png', load())
        write_image(out / 'test' / 'noisy' / f'{name}.png', add_noise(load(), seed))
    print(f'{len(TRAINING)} photographs to train on, {len(HELD_OUT)} held out: {out}')


if __name__ == '__main__':
    main()
