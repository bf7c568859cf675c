"""Pairs of images as the quick start of README.md wants them: `python pairs.py FOLDER`."""

import sys
from pathlib import Path

import cv2
import numpy as np


def write_pairs(folder):
    rng = np.random.default_rng(0)
    for split, count in (('train', 3), ('test', 1)):
        for number in range(count):
            truth = cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (136, 136))
            noisy = np.clip(truth + rng.normal(0, 25, truth.shape), 0, 255).astype(np.uint8)
            for name, image in (('target', truth), ('input', noisy)):
                path = Path(folder, split, name, f'{number}.png')
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)


if __name__ == '__main__':
    write_pairs(sys.argv[1])
