"""Batches of several data sets in a given ratio."""

from collections.abc import Iterator, Sequence

from mmagic.registry import DATA_SAMPLERS
from mmengine.dataset import InfiniteSampler
from mmengine.dist import sync_random_seed
from torch.utils.data import ConcatDataset, Sampler

from mmsamdistill.arguments import check_flag


@DATA_SAMPLERS.register_module()
class MixedSampler(Sampler):
    """Draw every batch, in every process, from the datasets of a ``ConcatDataset`` in a ratio.

    Each dataset is gone through in an order of its own, for ever, as by ``InfiniteSampler``; a
    short one comes round more often. For batches of images with and without ground truth::

        train_dataloader = dict(
            batch_size=8,
            sampler=dict(type='MixedSampler', batch_size=8, ratio=(3, 1)),
            dataset=dict(type='ConcatDataset', datasets=[labelled, unlabelled]))

    Args:
        dataset: A ``ConcatDataset``; the dataloader hands it over.
        batch_size: The dataloader's, of one process.
        ratio: How many images of each dataset, in any unit.
        shuffle: Draw each dataset in random order.
        seed: Of the order; the dataloader hands it over. None: one that all processes share.

    Raises:
        TypeError: If the dataset is no ``ConcatDataset``.
        ValueError: If there is not one share for each dataset, or a batch cannot be divided so.

    Example:
        >>> from itertools import islice
        >>> both = ConcatDataset([range(4), range(2)])
        >>> list(islice(MixedSampler(both, 3, (2, 1), shuffle=False, seed=0), 6))
        [0, 1, 4, 2, 3, 5]
    """

    def __init__(
        self,
        dataset: ConcatDataset,
        batch_size: int,
        ratio: Sequence[int],
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        check_flag(shuffle=shuffle)
        if not hasattr(dataset, 'cumulative_sizes'):
            raise TypeError(
                f"MixedSampler needs dict(type='ConcatDataset', ...), got {type(dataset).__name__}"
            )
        if len(ratio) != len(dataset.datasets) or min(ratio) < 1:
            raise ValueError(
                f'ratio={tuple(ratio)} must give each of {len(dataset.datasets)} datasets a share'
            )
        if batch_size % sum(ratio):
            raise ValueError(
                f'batch_size={batch_size} cannot be divided {":".join(map(str, ratio))}; '
                f'it must be a multiple of {sum(ratio)}'
            )
        seed = sync_random_seed() if seed is None else seed
        self.size = len(dataset)
        # Of each dataset: its share of a batch, its first index among all, its own endless order.
        self._shares = [batch_size // sum(ratio) * share for share in ratio]
        self._starts = [0, *dataset.cumulative_sizes[:-1]]
        self._orders = [
            InfiniteSampler(part, shuffle, seed + number)
            for number, part in enumerate(dataset.datasets)
        ]

    def __iter__(self) -> Iterator[int]:
        orders = [iter(order) for order in self._orders]
        while True:
            for start, order, share in zip(self._starts, orders, self._shares, strict=True):
                for _ in range(share):
                    yield start + next(order)

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: like ``InfiniteSampler``, this one is for training by iterations."""
