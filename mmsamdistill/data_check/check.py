"""What is wrong with the data of a config, found before a training finds it hours later."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from mmsamdistill.data_check.files import (
    Leaf,
    datasets_of,
    leaves_of,
    mismatches,
    remarks_on_folder,
    white_of,
)
from mmsamdistill.data_check.readers import FileReader, LmdbReader, RegionReader
from mmsamdistill.data_check.report import DataReport, by, is_there
from mmsamdistill.images.header import ImageHeader

Reader = FileReader | LmdbReader
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


def check_data(
    cfg: Mapping[str, Any],
    splits: Sequence[str] = ('train', 'val', 'test'),
    *,
    full: bool = False,
    workers: int = 8,
    track: Track = lambda items, title, total: items,
) -> list[DataReport]:
    """Check every data set of a config.

    Files are found by the config's own datasets, so that prefixes, templates, lists of files and
    nested datasets count as in training. Only headers and the ends of files are read.

    Args:
        cfg: The whole config, its default scope in force.
        splits: Which splits to check; those that the config lacks are left out. Default: all.
        full: Decode every image and region map: finds damage in the middle of files. Default:
            False.
        workers: Number of threads that read. Default: 8.
        track: Shows progress: called with the samples, a title and their number, gives the
            samples. Default: nothing is shown.

    Returns:
        One report for each data set of each split. Parts in the same folders are one data set.
    """
    reports: dict[tuple[Any, ...], DataReport] = {}
    readers: dict[str, Reader] = {}
    orders: dict[str, tuple[str, str]] = {}
    with ExitStack() as stack, ThreadPoolExecutor(max(1, workers)) as pool:
        for split in splits:
            for dataset in datasets_of(cfg, split):
                problems = list(mismatches(dataset))
                for leaf in leaves_of(dataset):
                    report = DataReport(split, leaf.name, leaf.folders(), errors=problems)
                    problems = []  # of the whole, so they are said once
                    checker = _Checker(leaf, full, readers, stack, white_of(cfg))
                    checker.run(report, pool, track)
                    for key, order in leaf.orders().items():
                        first, other = orders.setdefault(key, (order, split))
                        if order != first:
                            remark = f'{key} is loaded as {order}, in {other} as {first}'
                            report.remarks.append(remark)
                    same = (split, leaf.name, *report.folders.items())
                    if same in reports:
                        reports[same].add(report)
                    else:
                        reports[same] = report
    return list(reports.values())


@dataclass
class _Checker:
    """Checks one dataset; the readers are shared, so that no file is read twice."""

    leaf: Leaf
    full: bool
    readers: dict[str, Reader]
    stack: ExitStack
    white: float | None = None
    regions: RegionReader | None = None

    def __post_init__(self) -> None:
        self.databases = self.leaf.databases()
        self.patch = self.leaf.patch()
        self.channels: dict[str, dict[int, str]] = {}
        self.lock = Lock()

    def run(self, report: DataReport, pool: ThreadPoolExecutor, track: Track) -> None:
        # 1. Are the folders there?
        absent = {key: path for key, path in report.folders.items() if not is_there(path)}
        report.errors += [f'there is no {path} ({key})' for key, path in absent.items()]
        if 'regions' in absent:
            report.regions.append(f'all: there is no folder {absent["regions"]}')
        # Images can be checked without region maps, not the other way round.
        if absent.keys() - {'regions'}:
            return
        # 2. Which samples does the dataset itself list, and what do its folders hold besides?
        try:
            dataset = self.leaf.build(lazy_init=False)
            self._open()
        except (TypeError, OSError, ValueError) as error:
            report.errors.append(f'its files cannot be listed: {error}')
            return
        samples = [dataset.get_data_info(index) for index in range(len(dataset))]
        samples.sort(key=lambda info: str(info.get('key')))  # folders have no order
        listed = self._listed(dataset, samples)
        for key, paths in listed.items():
            recursive = bool(getattr(dataset, 'recursive', False))
            report.remarks += remarks_on_folder(dataset.data_prefix[key], paths, recursive)
        if not samples:
            found = ''.join(f'; {remark}' for remark in report.remarks)
            report.errors.append(f'its folders contain no images that the dataset takes{found}')
        known = {name for info in samples for name in info}
        for key in self.leaf.loaders() if samples else ():
            if f'{key}_path' not in known:
                prefixes = ', '.join(dataset.data_prefix)
                report.errors.append(f'its pipeline loads {key!r}, data_prefix has only {prefixes}')
        report.extra += self._extra(listed, samples)
        # 3. Every file of every sample.
        report.errors += self.leaf.confusions()
        title = f'{report.split}, {report.name}'
        for found in track(pool.map(self._sample, samples), title, len(samples)):
            report.add(found)
        for key, examples in self.channels.items():
            if len(examples) > 1:
                told = ', '.join(f'{path} has {count}' for count, path in sorted(examples.items()))
                report.errors.append(
                    f'{key} is loaded with the channels of its file, and {told}: load it with '
                    "color_type='color' or 'grayscale'"
                )

    def _open(self) -> None:
        for path in self.databases.values():
            if path not in self.readers:
                self.readers[path] = self.stack.enter_context(LmdbReader(path, self.full))
        self.readers.setdefault('files', FileReader(self.full))
        if self.leaf.regions is not None and is_there(self.leaf.regions):
            self.regions = RegionReader(self.leaf.regions, self.full)

    def _sample(self, info: Mapping[str, Any]) -> DataReport:
        found = DataReport('', '', {}, samples=1)
        sizes: dict[str, tuple[int, int]] = {}
        upright: list[tuple[int, int]] = []
        # 1. The header of each image.
        for key, path in _paths(info).items():
            found.files.add(self._shown(key, path))
            try:
                header = self.readers[self.databases.get(key, 'files')].header(path)
            except FileNotFoundError:
                found.missing.append(self._shown(key, path))
                continue
            except ValueError as error:
                found.unreadable.append(f'{self._shown(key, path)} ({error})')
                continue
            # Region maps are of upright images, whatever the loader makes of these.
            upright.append(header.size)
            sizes[key] = size = header.size if self.leaf.turns(key) else header.stored
            if self.leaf.color_type(key) == 'unchanged':
                with self.lock:  # the first path by name, whichever thread comes first
                    examples = self.channels.setdefault(key, {})
                    examples[header.channels] = min(path, examples.get(header.channels, path))
            for remark in self._remarks(key, header):
                found.remarks.append(f'{self._shown(key, path)} ({remark})')
            if min(size) < self.patch:
                found.small.append(f'{self._shown(key, path)} ({by(size)})')
        # 2. Whether they fit one another, and their region map.
        if len(set(sizes.values())) > 1:
            told = ', '.join(f'{key} {by(size)}' for key, size in sizes.items())
            found.sizes.append(f'{info.get("key")} ({told})')
        if self.regions is not None:
            problem = self.regions.problem(info, upright[0] if upright else None)
            found.regions += [problem] if problem else []
        return found

    def _shown(self, key: str, path: str) -> str:
        database = self.databases.get(key)
        return path if database is None else f'{Path(path).stem} in {database}'

    def _remarks(self, key: str, header: ImageHeader) -> list[str]:
        """What becomes of an image that is not as the loader or the model takes it."""
        remarks = []
        if header.remark() and self.leaf.expects_colour(key):
            remarks.append(header.remark())
        white = self.leaf.white(key, header.deep)
        # Cameras' 10 to 14 bits come in files of 16.
        fits = self.white is None or white == self.white or (white > 255 and self.white > 255)
        if not fits:
            remarks.append(f'white is {white:g} as loaded, {self.white:g} by the data_preprocessor')
        return remarks

    def _listed(self, dataset: Any, samples: list[dict[str, Any]]) -> dict[str, set[str]]:
        """By key, the files that a dataset lists in a folder: those of the other side too."""
        search_key = getattr(dataset, 'search_key', None)
        chosen = dataset.ann_file if search_key else True
        if self.databases or chosen or 'indices' in self.leaf.config:
            return {}
        listed = {search_key: {info[f'{search_key}_path'] for info in samples}}
        for key in dataset.data_prefix:
            if key != search_key:
                other = self.leaf.build(lazy_init=False, search_key=key)
                infos = (other.get_data_info(index) for index in range(len(other)))
                listed[key] = {info[f'{key}_path'] for info in infos}
        return listed

    def _extra(self, listed: dict[str, set[str]], samples: list[dict[str, Any]]) -> list[str]:
        """Files of the other side that belong to no sample."""
        unused = []
        for key, path in self.databases.items():
            used = {Path(info[f'{key}_path']).stem for info in samples}
            unused += [f'{each} in {path}' for each in self.readers[path].others(used)]
        for key, paths in listed.items():
            unused += sorted(paths - {info[f'{key}_path'] for info in samples})
        return unused


def _paths(info: Mapping[str, Any]) -> dict[str, str]:
    """Paths of a sample's images, by their keys."""
    return {
        name.removesuffix('_path'): value
        for name, value in info.items()
        if name.endswith('_path') and isinstance(value, str)
    }
