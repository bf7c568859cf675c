"""A whole test set as a web page that needs neither server nor network."""

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageOps
from tqdm import tqdm

from mmsamdistill.comparison.columns import Columns, read_picture
from mmsamdistill.comparison.page_text import page_text
from mmsamdistill.comparison.scores import Scores
from mmsamdistill.evaluation.report import write_report
from mmsamdistill.files import write_atomically

# Everything that a gallery's folder holds.
_CONTENT = ('images', 'thumbnails', 'index.html', 'scores.csv', 'scores.json', 'scores.md')
# What every browser shows; anything else is converted to PNG.
_SHOWN = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')
_THUMBNAIL = (168, 120)  # pixels, twice what the page shows: screens have two pixels a point


def write_gallery(
    columns: Columns,
    scores: Scores | None,
    out: str | Path,
    title: str | None = None,
    link: Collection[str] = (),
) -> Path:
    """Write a page that compares all images of a test set, any two columns under a slider.

    The folder appears as a whole or not at all, and an older gallery of the same path is replaced.
    Everything in it is named relative to it: it can be moved, packed and published.

    Args:
        columns: The images.
        scores: Their scores; None: a page without numbers, of columns that need no truth.
        out: Folder of the gallery.
        title: Heading of the page. Default: the columns' names.
        link: Columns whose files are linked to instead of copied, to save space for large sets;
            such a gallery works on this machine only, and shows what becomes of the files.
            Default: none.

    Returns:
        Path of the page.

    Raises:
        ValueError: If the folder holds something that is no gallery, or is where the images are.
    """
    out = Path(out)
    check_gallery(out, [path for files in columns.files.values() for path in files.values()])
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, since a rename is atomic only within one file system.
    build = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        _fill(build, columns, scores, title, link)
        # What mkdtemp makes is readable by its owner alone.
        build.chmod((build / 'images').stat().st_mode & 0o777)
        _replace(out, build)
    except BaseException:
        shutil.rmtree(build, ignore_errors=True)
        raise
    return out / 'index.html'


def check_gallery(out: str | Path, sources: Sequence[str | Path] = ()) -> None:
    """Refuse a folder that must not be replaced by a gallery.

    Args:
        out: Folder of the gallery.
        sources: Files that the gallery is made of.

    Raises:
        ValueError: If it is a file, holds anything that is no part of a gallery, or holds sources.
    """
    out = Path(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ValueError(f'{out} is a file or a link: a gallery is a folder, choose another path')
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    strange = [name for name in found if name not in _CONTENT]
    if strange or (found and 'index.html' not in found):
        raise ValueError(
            f'{out} holds {(strange or found)[0]!r} and is no gallery: choose another folder'
        )
    for source in sources:
        if out.resolve() in Path(source).resolve().parents:
            raise ValueError(
                f'{source} lies in {out}, which the gallery would replace: choose another folder'
            )


def _fill(
    build: Path, columns: Columns, scores: Scores | None, title: str | None, link: Collection[str]
) -> None:
    # Numbers keep apart what becomes equal without the characters that paths do not take well.
    folders = {
        name: f'images/{index}-{re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40]}'
        for index, name in enumerate(columns.names, start=1)
    }
    # Only where something was measured, the last column is the truth.
    main = columns.names[-2 if scores else -1]
    gains = scores.gains if scores else {}
    entries = []
    for key in tqdm(columns.keys, desc='gallery', unit='image', disable=None):
        # 1. The images themselves, and a thumbnail of what the last model made.
        files = [
            _add_image(build, folder, key, columns.files[name][key], name in link)
            for name, folder in folders.items()
        ]
        height, width = _add_thumbnail(build, key, columns.files[main][key])
        # 2. What the page says of them.
        values = scores.values[key] if scores else {}
        entries.append(
            {
                'name': _readable(key),
                'size': [width, height],
                'gain': gains.get(key),
                'files': [_url(path) for path in files],
                'thumbnail': _url(f'thumbnails/{key}.jpg'),
                'PSNR': [values.get(name, {}).get('PSNR') for name in columns.names],
                'SSIM': [values.get(name, {}).get('SSIM') for name in columns.names],
            }
        )
    # 3. The numbers and the page.
    if scores:
        _write_scores(build, columns, scores)
    page = page_text(columns.names, entries, scores, title)
    write_atomically(build / 'index.html', page.encode())


def _add_image(build: Path, folder: str, key: str, source: Path, link: bool) -> str:
    shown = source.suffix.lower() in _SHOWN
    path = f'{folder}/{key}{source.suffix if shown else ".png"}'
    target = _place(build, path)
    if not shown:
        Image.fromarray(read_picture(source)).save(target)
    elif link:
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)
    return path


def _add_thumbnail(build: Path, key: str, source: Path) -> tuple[int, int]:
    """Write the thumbnail of an image, and return the image's height and width."""
    picture = Image.fromarray(read_picture(source))
    # Of one shape, out of the middle; what is smaller than that is not enlarged.
    size = (min(picture.width, _THUMBNAIL[0]), min(picture.height, _THUMBNAIL[1]))
    small = ImageOps.fit(picture, size, Image.Resampling.BOX)
    small.save(_place(build, f'thumbnails/{key}.jpg'), quality=82)
    return picture.height, picture.width


def _place(build: Path, path: str) -> Path:
    target = build / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write_scores(build: Path, columns: Columns, scores: Scores) -> None:
    rows = []
    for key in columns.keys:
        row: dict[str, str | float] = {'image': _readable(key)}
        for name, metrics in scores.values[key].items():
            row.update({f'{name} {metric}': value for metric, value in metrics.items()})
        if scores.pair:
            row['gain'] = scores.gains[key]
        rows.append(row)
    meta = {'protocol': scores.protocol.describe(), 'gain': scores.pair}
    write_report(build / 'scores', rows, meta)


def _readable(key: str) -> str:
    # Names of files are bytes; those that are no UTF-8 could not be written into a page.
    return os.fsencode(key).decode('utf-8', 'replace')


def _url(path: str) -> str:
    return quote(os.fsencode(path))


def _replace(out: Path, build: Path) -> None:
    """Put the finished folder in its place; an older gallery moves aside first."""
    if not out.exists():
        build.rename(out)
        return
    # It is deleted only once the new one is there.
    old = Path(tempfile.mkdtemp(prefix=f'.{out.name}.old.', dir=out.parent))
    out.rename(old / 'gallery')
    try:
        build.rename(out)
    except OSError:
        (old / 'gallery').rename(out)
        raise
    shutil.rmtree(old)
