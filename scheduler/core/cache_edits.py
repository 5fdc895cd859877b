"""Changes of the KV cache that a backend carries out, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CopyPrefix:
    """Give slot `target` the first `length` cells of slot `source`. What target held is lost."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop all cells of `slot` from position `length` on."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Drop the cells of `slot` in [start, stop), and move the cells behind them to `start`."""

    slot: int
    start: int
    stop: int
    may_be_shared: bool
    """Whether other slots may share some of the cells."""


@dataclass(frozen=True, slots=True)
class Save:
    """Copy all cells of `slot` to host memory, under the id `prefix`."""

    slot: int
    prefix: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Give `slot` the first `length` cells saved as `prefix`. What the slot held is lost."""

    prefix: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Copy to host memory, under the id `checkpoint`, what `slot` can't go back to once it has
    computed more: a recurrent state, or the cells in a sliding window."""

    slot: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class RestoreCheckpoint:
    """Take `slot` back to its first `length` tokens, after which `checkpoint` was saved."""

    checkpoint: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Free the host memory of `prefix`, which may be a checkpoint's id."""

    prefix: int


CacheEdit = CopyPrefix | Trim | Shift | Save | Restore | SaveCheckpoint | RestoreCheckpoint | Drop
