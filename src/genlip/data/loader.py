"""The loader: the batches of a run, prepared ahead by worker processes.

In: a packer, a batch size and the number of the first batch. Out: batches n, n+1, … of the run.
Batch n is a pure function of the seed and n, whatever prepared it, so that resuming is starting at another n.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from genlip.data.order import order
from genlip.data.packing import Batch, Packer

__all__ = ["load_batches"]


class _Batches(Dataset[Batch]):
    def __init__(self, packer: Packer, size: int, seed: int) -> None:
        self.packer, self.size, self.seed = packer, size, seed

    def __getitem__(self, number: int) -> Batch:
        start = number * self.size
        return self.packer.batch(order(self.seed, len(self.packer.source), start, start + self.size))


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the run itself should hear it, and finish its update."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def load_batches(packer: Packer, size: int, seed: int, first: int, last: int, workers: int = 0) -> Iterator[Batch]:
    """Batches `first` to `last` - 1 of `size` samples each, in order.

    workers  processes that prepare batches ahead; 0 prepares them in this one
    """
    return iter(
        DataLoader(
            _Batches(packer, size, seed),
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_leave_signals_to_the_parent,
        )
    )
