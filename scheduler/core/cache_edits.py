"""Changes to the KV cache that a backend carries out, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CopyPrefix:
    """Give `target` the first `length` cells of `source`; what target held is gone."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop every cell of `slot` from position `length` on."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Drop the cells of `slot` in [start, stop), and move those behind them to `start`."""

    slot: int
    start: int
    stop: int
    may_be_shared: bool
    """Whether other slots may have some of the cells too."""


@dataclass(frozen=True, slots=True)
class Save:
    """Copy all cells of `slot` to host memory, under the name `prefix`."""

    slot: int
    prefix: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Give `slot` the first `length` cells saved as `prefix`; what it held is gone."""

    prefix: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Free what was saved as `prefix`."""

    prefix: int


CacheEdit = CopyPrefix | Trim | Shift | Save | Restore | Drop
