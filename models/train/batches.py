"""Reads batches of token rows from the files that `data.py` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.train.data import LONG_ROW, SHORT_ROW
from models.train.model import conversation_mask

# One batch out of this many has long conversations.
LONG_EVERY = 40


@dataclass(frozen=True)
class Batch:
    """inputs and targets [B, T]; weights [B, T] is 1 where the loss counts; mask or None."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    mask: Tensor | None


class Rows:
    """The rows of one folder, in a shuffled order that repeats."""

    def __init__(self, folder: Path, length: int, seed: int) -> None:
        self.tokens = np.memmap(folder / "tokens.bin", np.uint16, "r").reshape(-1, length)
        self.trained = np.memmap(folder / "trained.bin", np.uint8, "r").reshape(-1, length)
        self.seed = seed
        self.orders: dict[int, NDArray[np.int64]] = {}

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self.orders:
            total = len(self.tokens)
            self.orders = {epoch: np.random.default_rng([self.seed, epoch]).permutation(total)}
        return self.orders[epoch]

    def take(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Rows `first` to `first + count` of the shuffled, repeated sequence."""
        total = len(self.tokens)
        chosen = []
        for place in range(first, first + count):
            epoch, offset = divmod(place, total)
            chosen.append(self._order(epoch)[offset])
        tokens = torch.from_numpy(self.tokens[chosen].astype(np.int64))
        return tokens, torch.from_numpy(self.trained[chosen].astype(np.float32))


def batches(folder: Path, rows: int, end: int, seed: int, first: int = 0) -> Iterator[Batch]:
    """Batches from number `first` on, in an endless sequence."""
    short = Rows(folder / "short", SHORT_ROW, seed)
    long = Rows(folder / "long", LONG_ROW, seed)
    long_rows = max(1, rows * SHORT_ROW // LONG_ROW)
    number = first
    while True:
        if number % LONG_EVERY == LONG_EVERY - 1:
            tokens, trained = long.take(number // LONG_EVERY * long_rows, long_rows)
            mask = None
        else:
            tokens, trained = short.take((number - number // LONG_EVERY) * rows, rows)
            mask = conversation_mask(tokens[:, :-1], end)
        yield Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), trained[:, 1:], mask)
        number += 1
