"""Compare restored images: a figure for a paper, and a gallery of the whole test set.

Columns are folders of images, or models that are run on the degraded images. Images belong
together by their paths below these folders without suffix. What is drawn is chosen by a rule that
the figure states, or by hand, which it states as well.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mmsamdistill_command import add_debug, add_device


class Source(NamedTuple):
    """Where a column comes from: a folder, or a config and a checkpoint."""

    name: str
    folder: Path | None = None
    config: str = ''
    checkpoint: str = ''


def column(text: str) -> Source:
    """Understand ``NAME=FOLDER``."""
    name, _, folder = text.partition('=')
    if not name or not folder:
        raise argparse.ArgumentTypeError(f'{text!r}: expected NAME=FOLDER')
    return Source(name, Path(folder))


def model(text: str) -> Source:
    """Understand ``NAME=CONFIG,CHECKPOINT``."""
    name, _, files = text.partition('=')
    config, _, checkpoint = files.partition(',')
    if not name or not config or not checkpoint:
        raise argparse.ArgumentTypeError(f'{text!r}: expected NAME=CONFIG,CHECKPOINT')
    return Source(name, None, config, checkpoint)


def _add_inputs(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument('--truth', type=Path, required=True, help='folder of true images')
    parser.add_argument('--degraded', type=Path, help='folder of degraded images: the first column')
    # One list for both, since the columns of the figure are in the order given.
    parser.add_argument(
        '--column',
        dest='sources',
        action='append',
        default=[],
        type=column,
        metavar='NAME=FOLDER',
        help='restored images; repeat',
    )
    parser.add_argument(
        '--model',
        dest='sources',
        action='append',
        type=model,
        metavar='NAME=CONFIG,CHECKPOINT',
        help='a network to run on the degraded images; repeat',
    )
    parser.add_argument('--tile', type=int, help='window of networks in pixels; default: none')
    parser.add_argument('--tile-overlap', type=int, help='overlap of windows in pixels')
    add_device(parser)
    parser.add_argument(
        '--protocol', default='denoise_rgb', help='of PSNR and SSIM (default: denoise_rgb)'
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    _add_inputs(parser.add_argument_group('what is compared, columns in the order given'))
    choice = parser.add_argument_group('which images')
    only = choice.add_mutually_exclusive_group()
    only.add_argument('--images', nargs='+', metavar='IMAGE', help='these, by hand')
    only.add_argument(
        '--pick',
        choices=['first', 'best', 'worst', 'typical'],
        default='first',
        help='rule by which the figure picks images; gains are those of the last model over the '
        'first, or of the only one over the degraded images (default: first, by name)',
    )
    choice.add_argument('--count', type=int, default=4, help='how many the rule picks (default: 4)')
    figure = parser.add_argument_group('figure')
    figure.add_argument('--out', type=Path, help='path of the figure: png, jpg, pdf or svg')
    figure.add_argument(
        '--crop',
        action='append',
        default=[],
        metavar='[IMAGE=]X,Y,SIZE',
        help='zoom into this square of one image, or of all that have none of their own; repeat '
        '(default: where the squared errors of those two columns differ most)',
    )
    figure.add_argument('--crop-size', type=int, default=96, help='side of automatic crops')
    figure.add_argument('--error-maps', action='store_true', help='draw |restored - truth|')
    figure.add_argument('--error-max', type=float, help='end of their scale, in grey levels of 255')
    figure.add_argument('--width', type=float, default=7.0, help='in inches (default: 7)')
    figure.add_argument('--dpi', type=int, default=300, help='pixels per inch (default: 300)')
    gallery = parser.add_argument_group('gallery')
    gallery.add_argument('--gallery', type=Path, help='folder for index.html and what it shows')
    gallery.add_argument('--title', help='heading of the page')
    gallery.add_argument('--link', action='store_true', help='link to images, do not copy them')
    add_debug(parser)
    args = parser.parse_args()
    if not args.out and not args.gallery:
        parser.error('nothing to make: give --out FIGURE, --gallery FOLDER, or both')
    return args


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.arguments import check_number
from mmsamdistill.command_line import check_output, run
from mmsamdistill.comparison import (
    DEGRADED,
    TRUTH,
    Columns,
    CropChoice,
    FigureRow,
    FigureStyle,
    Scores,
    check_format,
    check_gallery,
    describe_pick,
    draw_comparison,
    find_columns,
    format_score,
    parse_crop,
    pick_images,
    restore_column,
    score_images,
    summary_rows,
    write_gallery,
)
from mmsamdistill.evaluation import get_protocol
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.images.finding import check_beside


def check(args: argparse.Namespace) -> dict[str, Source]:
    """Look at what was asked for, before anything that takes long.

    Returns:
        The columns by name, without the truth.

    Raises:
        ValueError: If names or paths collide, or models have nothing to run on.
    """
    sources = [Source(DEGRADED, args.degraded)] if args.degraded else []
    sources += args.sources
    named = {source.name: source for source in sources}
    if len(named) < len(sources) or TRUTH in named:
        names = [source.name for source in sources]
        raise ValueError(f'columns {names}: each needs a name of its own, other than {TRUTH!r}')
    if not named:
        raise ValueError('nothing to compare: give --column, --model or --degraded')
    if DEGRADED not in named and any(source.folder is None for source in sources):
        raise ValueError('--model restores the degraded images: give their folder by --degraded')
    get_protocol(args.protocol)
    check_number(1, **{'--count': args.count, '--crop-size': args.crop_size})
    if args.out:
        check_format(args.out)
        check_output('--out', args.out)
    if args.gallery:
        check_gallery(args.gallery)
        check_output('--gallery', args.gallery, folder=True)
    folders = [args.truth, *(source.folder for source in sources if source.folder)]
    for out in filter(None, (args.out, args.gallery)):
        check_beside(out, folders)
    return named


def match(args: argparse.Namespace, sources: Mapping[str, Source], work: Path) -> Columns:
    """Find the images of all columns, and make those of the models.

    Args:
        args: The command line.
        sources: The columns but the truth.
        work: An empty folder for what the models restore.

    Returns:
        The columns, with the images that are needed.
    """
    folders = {name: source.folder for name, source in sources.items() if source.folder}
    columns = find_columns({**folders, TRUTH: args.truth}, args.images)
    if args.pick == 'first' and not args.images and not args.gallery:
        columns = columns.only(columns.keys[: max(1, args.count)])
    for key in columns.keys if len(folders) < len(sources) else ():
        columns.read(key)  # an hour of restoring must not end at a broken file
    files = {}
    for index, (name, source) in enumerate(sources.items()):
        if source.folder:
            files[name] = columns.files[name]
        else:
            degraded = {key: columns.files[DEGRADED][key] for key in columns.keys}
            options = {'tile': args.tile, 'overlap': args.tile_overlap, 'device': args.device}
            where = source.config, source.checkpoint, degraded, work / str(index)
            files[name] = restore_column(*where, name, **options)
    return Columns({**files, TRUTH: columns.files[TRUTH]}, columns.keys)


def plan_figure(
    args: argparse.Namespace, columns: Columns, scores: Scores, total: int
) -> tuple[list[FigureRow], list[str]]:
    """Choose what the figure shows and what it says of that.

    Returns:
        Rows and notes.
    """
    keys = list(columns.keys) if args.images else pick_images(scores, args.pick, args.count)
    crops = CropChoice(args.crop, args.crop_size)
    crops.check(keys)
    rows = []
    for key in keys:
        captions = {TRUTH: 'PSNR / SSIM'}
        for name, values in scores.values[key].items():
            captions[name] = ' / '.join(format_score(*value) for value in values.items())
        pictures = columns.read(key)
        rows.append(FigureRow(key, pictures, captions, crops.boxes(columns, key, pictures)))
    notes = [
        f'PSNR (dB) / SSIM by protocol {scores.protocol}.',
        describe_pick(scores, None if args.images else args.pick, len(keys), total),
        crops.describe(columns, keys),
    ]
    return rows, notes


def compare(args: argparse.Namespace, work: Path) -> None:
    """Compare."""
    sources = check(args)
    style = FigureStyle(args.width, args.dpi, 7.0, args.error_maps, args.error_max)
    columns = match(args, sources, work)
    scores = score_images(columns, args.protocol)
    total = len(columns.files[TRUTH])
    if args.out:
        rows, notes = plan_figure(args, columns, scores, total)
        draw_comparison(rows, args.out, notes, style)
        print(f'written: {args.out}')
    if args.gallery:
        # What a model restored is in a folder that will be gone.
        stays = [name for name in columns.names if name == TRUTH or sources[name].folder]
        link = stays if args.link else []
        page = write_gallery(columns, scores, args.gallery, args.title, link)
        print(f'written: {page}')
    print(f'\n{len(columns.keys)} of {total} images, {scores.protocol}\n')
    print(to_markdown(summary_rows(columns.names, scores)))


def main() -> None:
    """Compare."""
    args = parse_args()
    args.crop = [parse_crop(text) for text in args.crop]
    with tempfile.TemporaryDirectory(prefix='compare-') as work:
        compare(args, Path(work))


if __name__ == '__main__':
    run(main)
