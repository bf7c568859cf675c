"""Turn the public archive of BSDS500 into images and region maps for benchmarks/bsds500.

    python benchmarks/prepare_bsds500.py BSR/BSDS500/data data/bsds500

The first folder holds images/ and groundTruth/, each with train/, val/ and test/. The second gets
train/ and test/ (200 photographs each), both with images/ and regions/. Every photograph was
segmented by several people; its region map is the segmentation of median granularity among them,
the lower one of an even number. The validation part of the archive is left alone.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmsamdistill.cache.map_file import write_map
from mmsamdistill.files import write_atomically

SPLITS = ('train', 'test')
IN_EACH_SPLIT = 200


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archive', type=Path, help='folder with images/ and groundTruth/')
    parser.add_argument('out', type=Path, help='where train/ and test/ go')
    return parser.parse_args()


def list_pairs(archive: Path) -> list[tuple[str, Path, Path]]:
    """Find every photograph and its segmentations, before anything is written.

    Returns:
        Split, photograph and ``.mat`` file of each.

    Raises:
        FileNotFoundError: If a folder is missing or empty, or a photograph has no segmentations.
    """
    pairs = []
    for split in SPLITS:
        images = sorted((archive / 'images' / split).glob('*.jpg'))
        if not images:
            raise FileNotFoundError(
                f'no photographs in {archive / "images" / split}; ARCHIVE is the folder of the '
                f'unpacked archive that holds images/ and groundTruth/, BSR/BSDS500/data'
            )
        for image in images:
            truth = archive / 'groundTruth' / split / f'{image.stem}.mat'
            if not truth.is_file():
                raise FileNotFoundError(f'{image} has no segmentations: {truth} is missing')
            pairs.append((split, image, truth))
    return pairs


def median_segmentation(path: Path) -> np.ndarray:
    """Choose the segmentation of median granularity out of an archive's file.

    Args:
        path: A ``.mat`` file with the cell array ``groundTruth``.

    Shape:
        - result: ``(H, W)``

    Returns:
        uint16 labels from 1.

    Raises:
        ValueError: If the file cannot be read as such.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path)['groundTruth'].ravel()
        maps = [np.asarray(cell['Segmentation'][0, 0], np.uint16) for cell in cells]
        # Python's sort is stable: of equal numbers the archive's order decides.
        maps.sort(key=lambda labels: len(np.unique(labels)))
        return maps[(len(maps) - 1) // 2]
    except (MatReadError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no file of segmentations of BSDS500: {error}') from error


def main() -> None:
    """Convert; what is there already is written again."""
    args = parse_args()
    try:
        pairs = list_pairs(args.archive)
        for split, image, truth in tqdm(pairs, unit='image'):
            write_map(
                args.out / split / 'regions' / f'{image.stem}.png', median_segmentation(truth), {}
            )
            write_atomically(args.out / split / 'images' / image.name, image.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'prepare_bsds500: {error}') from error
    print(f'written: {len(pairs)} photographs and region maps in {args.out}')
    for split, count in Counter(split for split, *_ in pairs).items():
        if count != IN_EACH_SPLIT:
            print(
                f'warning: {count} photographs in {split}/, the public archive has '
                f'{IN_EACH_SPLIT}: published numbers cannot be redone with these'
            )


if __name__ == '__main__':
    main()
