"""Restore an image or a whole folder of images with a trained restorer."""

import argparse
import os
from pathlib import Path

from mmsamdistill_command import add_config_options, add_device, add_local


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the checkpoint; of a distilled one, the student')
    parser.add_argument('checkpoint', help='weights: of the cascade, exported, or official')
    parser.add_argument('images', type=Path, help='an image, or a folder and all folders below it')
    parser.add_argument('out', type=Path, help='folder for the results, structure kept, as PNG')
    parser.add_argument(
        '--tile',
        type=lambda text: text if text == 'auto' else int(text),
        help="window in pixels, or 'auto': what fits into memory; default: whole images at once",
    )
    parser.add_argument('--tile-overlap', type=int, help='overlap of windows in pixels')
    parser.add_argument('--batch-size', type=int, default=1, help='equal images at once; default 1')
    parser.add_argument('--amp', action='store_true', help='compute in half precision')
    add_local(parser)
    add_device(parser)
    parser.add_argument('--page', type=Path, help='folder for a web page of before and after')
    parser.add_argument('--suffix', default='', help='added to the stem of each result')
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

from tqdm import tqdm

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.command_line import UsageError, check_output, read_config, run
from mmsamdistill.comparison import DEGRADED, Columns, check_gallery, write_gallery
from mmsamdistill.deploy.image_files import restore_files
from mmsamdistill.deploy.restorer import Restorer
from mmsamdistill.deploy.settings import statistics_of
from mmsamdistill.images import find_images


def list_images(folder: Path) -> list[Path]:
    """Find the images of a folder and say what else is there."""
    found = find_images(folder)
    if found.skipped:
        print(f'restore: {folder}: {found.remark()}')
    return list(found.files.values())


def plan(images: Path, out: Path, suffix: str, page: Path | None = None) -> dict[Path, Path]:
    """Decide where each result goes; what lies in ``out`` or ``page`` is no input."""
    if '/' in suffix or '\\' in suffix:
        raise UsageError(f'--suffix {suffix}: it is added to names, and can be no path')
    root = images if images.is_dir() else images.parent
    ours = {real(folder) for folder in (out, page) if folder} - {real(root)}
    results: dict[Path, Path] = {}
    left_out = 0
    for path in [images] if images.is_file() else list_images(images):
        if ours.intersection(real(path.parent / 'name').parents):
            left_out += 1
            continue
        relative = path.relative_to(root)
        results[path] = out / relative.parent / f'{relative.stem}{suffix}.png'
    if left_out:
        print(f'restore: {left_out} images are results below {images}, and left out')
    sources = {real(path) for path in results}
    for result in results.values():
        if real(result) in sources:
            raise ValueError(f'{result} would overwrite an input; choose another OUT or a --suffix')
    return results


def real(path: Path) -> Path:
    """Resolve a path; not by ``Path.resolve``, which raises for links in a circle."""
    return Path(os.path.realpath(path))


def on_a_line(path: Path) -> str:
    """A path to print, escaped if it has line breaks or bytes that are no text."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def load_restorer(args: argparse.Namespace) -> Restorer:
    """Build what the command line asks for."""
    if args.tile_overlap is not None and args.tile is None:
        raise UsageError('--tile-overlap means nothing without --tile')
    return Restorer(
        read_config(args.config, args.cfg_options),
        args.checkpoint,
        args.tile,
        args.tile_overlap,
        args.device,
        amp=args.amp,
        local=args.local,
    )


def write_page(results: dict[Path, Path], args: argparse.Namespace) -> None:
    """Show what was restored beside what it was restored from."""
    keys = {
        str(result.relative_to(args.out).with_suffix('')): path for path, result in results.items()
    }
    files = {DEGRADED: keys, 'restored': {key: results[path] for key, path in keys.items()}}
    print(f'written: {write_gallery(Columns(files, tuple(sorted(keys))), None, args.page)}')


def main() -> None:
    """Restore, then account for every file."""
    args = parse_args()
    check_output('OUT', args.out, folder=True)
    results = plan(args.images, args.out, args.suffix, args.page)
    if args.page:
        check_output('--page', args.page, folder=True)
        check_gallery(args.page, [*results, *results.values()])
    restorer = load_restorer(args)
    notes: dict[str, list[Path]] = {}
    failed: dict[Path, Exception] = {}
    outcomes = restore_files(restorer, results, notes, args.batch_size)
    for path, reason in tqdm(outcomes, 'restore', len(results), unit='image'):
        if reason is not None:
            failed[path] = reason
    for note, paths in notes.items():
        others = f' and {len(paths) - 1} more' if len(paths) > 1 else ''
        print(f'note: {note} ({on_a_line(paths[0])}{others})')
    for remark in restorer.remarks:
        print(f'note: {remark}')
    how = statistics_of(restorer.model, restorer.window)
    print(
        f'restored: {len(results) - len(failed)} of {len(results)} images in {args.out} '
        f'(statistics: {how})'
    )
    if args.page and len(failed) < len(results):
        write_page({path: results[path] for path in results.keys() - failed.keys()}, args)
    if failed:
        lines = [
            f'  {on_a_line(path)} ({type(why).__name__}: {" ".join(str(why).split())})'
            for path, why in failed.items()
        ]
        raise SystemExit('\n'.join(['not restored:', *lines]))


if __name__ == '__main__':
    run(main)
