"""What was found of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN = 5
_FATAL = ('errors', 'missing', 'extra', 'unreadable', 'sizes', 'small', 'regions')
_FINDINGS = (*_FATAL, 'remarks')


@dataclass
class DataReport:
    """What was found of one data set.

    Attributes:
        split: 'train', 'val' or 'test'.
        name: Name of the data set.
        folders: Where it is, by key.
        samples: Number of samples: pairs, or images where there is only one side.
        files: Image files that they are made of.
        errors: What keeps the data set from being read at all.
        missing: Files that a sample needs and that are not there.
        extra: Files that no sample uses: their partner is missing.
        unreadable: Files that are no image or not whole.
        sizes: Samples whose images differ in size.
        small: Images smaller than the patch that is cut out of them.
        regions: Region maps that are missing, damaged or of another size.
        remarks: Images that the loader changes silently, and what in the folders is not read.

    Example:
        >>> report = DataReport('train', 'a', {}, missing=[f'{n}.png' for n in range(9)])
        >>> print(report)
        train, a: 0 samples
          9 missing: 0.png, 1.png, 2.png, 3.png, 4.png, ...
        >>> report.ok, DataReport('val', 'b', {}, remarks=['a.png: grey']).ok
        (False, True)
    """

    split: str
    name: str
    folders: dict[str, str]
    samples: int = 0
    files: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether a training or test can run on it, every sample as meant."""
        return not any(getattr(self, name) for name in _FATAL)

    def add(self, other: 'DataReport') -> None:
        """Add what was found of another part of the same data set."""
        self.samples += other.samples
        self.files |= other.files
        for name in _FINDINGS:
            getattr(self, name).extend(getattr(other, name))

    def lines(self, kinds: Sequence[str]) -> list[str]:
        """A line for each of these kinds of findings: how many, and the first of them."""
        lines = []
        for kind in kinds:
            found = list(dict.fromkeys(getattr(self, kind)))
            if found:
                shown = ', '.join(found[:_SHOWN]) + (', ...' if len(found) > _SHOWN else '')
                lines.append(f'{len(found):,} {_WORDS.get(kind, kind)}: {shown}')
        return lines

    def __str__(self) -> str:
        lines = [f'{self.split}, {self.name}: {self.samples:,} samples']
        lines += [f'  {key}: {path}' for key, path in self.folders.items() if is_there(path)]
        lines += [f'  {error}' for error in dict.fromkeys(self.errors)]
        lines += [f'  {line}' for line in self.lines(_FINDINGS[1:])]
        return '\n'.join(lines)


_WORDS = {
    'extra': 'without partner',
    'sizes': 'of different sizes',
    'small': 'smaller than the patch',
    'regions': 'region maps',
}


def by(size: tuple[int, int]) -> str:
    """A size in words."""
    return f'{size[0]} x {size[1]}'


def is_there(path: str) -> bool:
    """Whether a folder or file exists; no path is as good."""
    return not path or Path(path).exists()
