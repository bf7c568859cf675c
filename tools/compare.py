"""Draw degraded, restored and true images side by side, with crops and PSNR."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mmsamdistill.evaluation.figures import Box, draw_comparison, most_different_box
from mmsamdistill.evaluation.psnr import psnr

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--truth', type=Path, required=True, help='folder of true images')
    parser.add_argument(
        '--column',
        action='append',
        required=True,
        metavar='NAME=FOLDER',
        help='a column of the figure: restored or degraded images, same stems as the truth; repeat',
    )
    parser.add_argument('--out', type=Path, required=True, help='path of the figure')
    parser.add_argument('--images', nargs='+', help='stems to draw (default: the first four)')
    parser.add_argument(
        '--crop',
        type=int,
        nargs=4,
        metavar=('LEFT', 'TOP', 'WIDTH', 'HEIGHT'),
        help='crop to zoom into (default: where the last two columns differ most)',
    )
    parser.add_argument('--crop-size', type=int, default=96, help='side of the automatic crop')
    return parser.parse_args()


def find_images(folder: Path) -> dict[str, Path]:
    """Map stems to paths."""
    if not folder.is_dir():
        raise SystemExit(f'{folder} is not a folder')
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def read_rgb(path: Path) -> np.ndarray:
    """Read an image as RGB uint8."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f'{path} cannot be read as an image')
    return np.ascontiguousarray(picture[..., ::-1])


def choose_box(args: argparse.Namespace, columns: dict[str, np.ndarray]) -> Box:
    """Take the crop given by hand, or the place where the last two methods differ most."""
    if args.crop:
        return tuple(args.crop)
    methods = list(columns)[:-1]  # the last column is the truth
    first = columns[methods[-2]] if len(methods) > 1 else columns['truth']
    return most_different_box(first, columns[methods[-1]], args.crop_size)


def main() -> None:
    """Draw the figure."""
    args = parse_args()
    folders = dict(column.split('=', 1) for column in args.column)
    found = {name: find_images(Path(folder)) for name, folder in folders.items()}
    found['truth'] = find_images(args.truth)
    images, captions, boxes = {}, {}, {}
    for stem in args.images or list(found['truth'])[:4]:
        for name, paths in found.items():
            if stem not in paths:
                raise SystemExit(f'column {name!r} has no image with the stem {stem!r}')
        columns = {name: read_rgb(paths[stem]) for name, paths in found.items()}
        images[stem] = columns
        captions[stem] = {
            name: f'{psnr(picture, columns["truth"]).item():.2f} dB' if name != 'truth' else 'PSNR'
            for name, picture in columns.items()
        }
        boxes[stem] = choose_box(args, columns)
    draw_comparison(images, captions, boxes, args.out)
    print(f'written: {args.out}')


if __name__ == '__main__':
    main()
