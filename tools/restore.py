"""Restore an image or a whole folder of images with a trained restorer."""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the checkpoint; of a distilled one, the student')
    parser.add_argument('checkpoint', help='weights: of the cascade, exported, or official')
    parser.add_argument('images', type=Path, help='an image, or a folder and all folders below it')
    parser.add_argument('out', type=Path, help='folder for the results, structure kept, as PNG')
    parser.add_argument('--tile', type=int, help='window in pixels; default: whole images at once')
    parser.add_argument('--tile-overlap', type=int, help='overlap of windows in pixels')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: CUDA if there is any')
    parser.add_argument('--suffix', default='', help='added to the stem of each result')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of the config: key=value, nested keys joined by dots',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import cv2
from tqdm import tqdm

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.command_line import read_config, run
from mmsamdistill.deploy.inference import FileRestorer
from mmsamdistill.files import write_atomically
from mmsamdistill.images import find_images


def list_images(folder: Path) -> list[Path]:
    """Find the images of a folder and say what else is there."""
    found = find_images(folder)
    if found.skipped:
        print(f'restore: {folder}: {found.remark()}')
    return list(found.files.values())


def plan(images: Path, out: Path, suffix: str) -> dict[Path, Path]:
    """Decide where each result goes.

    Args:
        images: An image or a folder.
        out: Folder of the results; files in it are not taken for inputs.
        suffix: Added to the stem.

    Returns:
        Result by input.

    Raises:
        ValueError: If a result would overwrite an input or another result.
        FileNotFoundError: If there is no image.
    """
    root = images if images.is_dir() else images.parent
    inside = out.resolve() != root.resolve()
    results: dict[Path, Path] = {}
    found = [images] if images.is_file() else list_images(images)
    for path in found:
        if inside and out.resolve() in path.resolve().parents:
            continue
        relative = path.relative_to(root)
        results[path] = out / relative.parent / f'{relative.stem}{suffix}.png'
    sources = {path.resolve() for path in results}
    owners: dict[Path, Path] = {}
    for path, result in results.items():
        if result.resolve() in sources:
            raise ValueError(f'{result} would overwrite an input; choose another OUT or a --suffix')
        if result in owners:
            raise ValueError(f'{path} and {owners[result]} would both become {result}')
        owners[result] = path
    return results


def restore_all(restorer: FileRestorer, results: dict[Path, Path]) -> dict[Path, Exception]:
    """Restore everything; a broken image does not stop the rest.

    Returns:
        What failed, and why.
    """
    failed: dict[Path, Exception] = {}
    for path, result in tqdm(results.items(), desc='restore', unit='image'):
        try:
            encoded = cv2.imencode('.png', restorer(path))[1]
        except (ValueError, OSError) as error:
            failed[path] = error
            continue
        write_atomically(result, encoded.tobytes())
    return failed


def main() -> None:
    """Restore."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    results = plan(args.images, args.out, args.suffix)
    restorer = FileRestorer(cfg, args.checkpoint, args.tile, args.tile_overlap, args.device)
    failed = restore_all(restorer, results)
    print(f'restored: {len(results) - len(failed)} of {len(results)} images in {args.out}')
    if failed:
        lines = [f'  {path} ({type(error).__name__}: {error})' for path, error in failed.items()]
        raise SystemExit('\n'.join(['not restored:', *lines]))


if __name__ == '__main__':
    run(main)
