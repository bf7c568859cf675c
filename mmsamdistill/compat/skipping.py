"""Resumed runs go on in the middle of their data, without loading what was seen."""

import random
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, IterableDataset

from mmsamdistill.compat.import_hook import Original, after_import, in_place_of

LOOPS = 'mmengine.runner.loops'


class SeededBatch(list):
    """Indices of a batch; whoever goes through them to load images has its random state set first.

    That is in the worker, or here if there is none. So what is drawn for a batch depends on its
    number, and neither on the batches before it nor on how many workers there are.
    """

    def __init__(self, indices: Iterable[int], *seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        words = np.random.SeedSequence(self.seed).generate_state(3)
        np.random.seed(words[0])
        random.seed(int(words[1]))
        torch.default_generator.manual_seed(int(words[2]))
        return super().__iter__()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(super().__iter__()), *self.seed)


class NumberedBatches:
    """A batch sampler that numbers its batches, and can go on after any of them."""

    def __init__(self, batches: Any, seed: int) -> None:
        self._batches, self._seed = batches, seed
        self._begun: Iterator[list[int]] | None = None
        self.number = self.seen_of_epoch = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['_batches'], name)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        if self.seen_of_epoch:  # only now does the sampler know which epoch this is
            self.seen_of_epoch = self.skip(self.seen_of_epoch)
        begun, self._begun = self._begun or iter(self._batches), None
        for batch in begun:
            self.number += 1
            yield SeededBatch(batch, self._seed, get_rank(), self.number)

    def skip(self, count: int) -> int:
        """Leave batches out of the epoch at hand; how many are left to skip when it ends."""
        self._begun = iter(self._batches)
        for _ in range(count):
            if next(self._begun, None) is None:
                break
            self.number += 1
            count -= 1
        return count


def _numbered(loop: Any) -> NumberedBatches | None:
    """The loop's batches; None if its data has no indices that could be skipped."""
    loader = loop.dataloader
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_sampler is None:
        return None
    if not isinstance(loader.batch_sampler, NumberedBatches):
        # DataLoader forbids to set it, since an iterator that is at work would not notice.
        batches = NumberedBatches(loader.batch_sampler, loop.runner.seed)
        object.__setattr__(loader, 'batch_sampler', batches)
    return loader.batch_sampler


@in_place_of(LOOPS, 'IterBasedTrainLoop.run')
def _run(run: Original, loop: Any) -> Any:
    batches = _numbered(loop)
    # onedl-mmengine can be told to begin the data anew.
    if batches is not None and not getattr(loop, 'fast_forward_on_resume', False):
        loop.dataloader_iterator.skip(loop._iter)
    return run(loop)


@in_place_of(LOOPS, 'EpochBasedTrainLoop.run_epoch')
def _run_epoch(run_epoch: Original, loop: Any) -> None:
    length = len(loop.dataloader)
    begins = not isinstance(loop.dataloader.batch_sampler, NumberedBatches)
    batches = _numbered(loop)
    if begins and batches is not None:
        batches.number = loop._iter
        # A run can have been stopped within an epoch.
        done = loop._iter - loop._epoch * length
        if 0 < done <= length:
            loop.runner.logger.info(f'goes on after {done} of {length} batches of its epoch')
            batches.number -= done
            batches.seen_of_epoch = done
    run_epoch(loop)


def _amend_iterator(module: ModuleType) -> None:
    original = module._InfiniteDataloaderIterator

    class ResumableIterator(original):  # type: ignore[valid-type, misc]
        """Starts to load when the first batch is wanted; MMEngine's starts before it resumes."""

        def __init__(self, dataloader: DataLoader) -> None:
            self._dataloader, self._iterator, self._epoch = dataloader, None, 0
            self._seen = self._to_pass = 0

        def skip(self, count: int) -> None:
            """Have the next ``count`` batches, which the loop asks for, cost nothing."""
            self._seen = self._to_pass = count

        def skip_iter(self, count: int) -> None:
            """What the loop of onedl-mmengine calls once, instead of asking ``count`` times."""
            self._to_pass = 0

        def __next__(self) -> Any:
            if self._to_pass:
                self._to_pass -= 1
                return None
            if self._iterator is None:
                self._begin()
            return super().__next__()

        def _begin(self) -> None:
            loader, left = self._dataloader, self._seen
            while left and len(loader):
                left = loader.batch_sampler.skip(left)
                if left:
                    self._epoch += 1
                    for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
                        if hasattr(sampler, 'set_epoch'):
                            sampler.set_epoch(self._epoch)
            self._iterator = iter(loader)

    module._InfiniteDataloaderIterator = ResumableIterator  # type: ignore[attr-defined]


def skip_in_the_sampler() -> None:
    """Have resumed runs draw the indices of what was seen, and load none of it."""
    # MMEngine (to 0.10.7) advances a resumed run's data loader batch by batch, which reads, decodes
    # and augments everything that was seen: hours in a long run. The random numbers of the data
    # pipeline, which that brought back, now depend on the run's seed, the process and the batch's
    # number (SeededBatch), so that a resumed run sees the very batches of an uninterrupted one. A
    # run stopped within an epoch goes on within it; MMEngine's begins the epoch anew.
    after_import(LOOPS, _amend_iterator)
