"""Chooses slots, context and the type of the cells, so that a model fits a budget.

What a user loses comes last: first fewer slots, then cells of 8 bits, then less context, then cells
of 4 bits, then layers that stay off the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocol.footprint import PartBytes
from server.fit.budget import Budget
from server.fit.layers import Layers
from server.fit.placement import Need, best_placement

CACHE_TYPES = ("f16", "q8_0", "q4_0")
PAD = 256
"""llama.cpp rounds the cells of a slot up to a multiple of this."""

_STEPS = 24
"""Halvings of a range of contexts; the longest contexts have some million tokens."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a context is laid out."""

    n_slots: int
    n_ctx_slot: int
    cache_type: str

    @property
    def n_ctx(self) -> int:
        """Tokens of all slots together."""
        return self.n_slots * self.n_ctx_slot


PartsOf = Callable[[Layout], PartBytes]
"""What a layout takes with all layers on the host."""


@dataclass(frozen=True, slots=True)
class LayoutRange:
    """The layouts that may be chosen: from the best one to the least that is of use."""

    n_slots: int
    n_ctx_slot: int
    min_ctx_slot: int
    cache_types: tuple[str, ...] = CACHE_TYPES
    """From the best one on. Two with a slash between are those of keys and of values."""
    keeps_slots: bool = False
    """Whether there may not be fewer slots."""
    n_gpu_layers: int | None = None
    """Layers on the devices; None lets them be chosen."""

    @property
    def min_slots(self) -> int:
        """The fewest slots that may be chosen."""
        return self.n_slots if self.keeps_slots else 1

    @property
    def least(self) -> int:
        """Tokens of a slot below which nothing is offered."""
        return min(self.min_ctx_slot, self.n_ctx_slot)


@dataclass(frozen=True, slots=True)
class Choice:
    """A layout and where its parts go."""

    layout: Layout
    need: Need
    parts: PartBytes
    lacking: int = 0
    """Bytes that the budget lacks; 0 if the choice fits."""
    has_devices: bool = False
    """Whether the budget has devices."""

    @property
    def fits(self) -> bool:
        """Whether the budget is enough."""
        return not self.lacking


class Chooser:
    """Looks for layouts of one model that fit one budget."""

    def __init__(self, parts_of: PartsOf, layers: Layers, budget: Budget) -> None:
        self._parts_of = parts_of
        self._layers = layers
        self._budget = budget

    def choose(self, layouts: LayoutRange) -> Choice:
        """The best layout. If none fits, the least one, which says how much is lacking."""
        for is_whole in self._wholes(layouts):
            for choice in self._in_order(layouts, is_whole):
                if choice is not None and choice.fits:
                    return choice
        return self.placed(
            Layout(layouts.min_slots, layouts.least, layouts.cache_types[-1]), layouts
        )

    def most(self, layouts: LayoutRange, cache_type: str) -> Choice:
        """The most slots of the wished context with this type, or the most context of one slot."""
        first = None
        for is_whole in self._wholes(layouts):
            full = self._full(layouts, cache_type, is_whole)
            choice = full or self._longest(layouts, cache_type, is_whole)
            if choice is not None and choice.fits:
                return choice
            first = first or choice
        return first or self.placed(Layout(layouts.min_slots, layouts.least, cache_type), layouts)

    def placed(self, layout: Layout, layouts: LayoutRange) -> Choice:
        """The layout with the most layers on the devices."""
        parts = self._parts_of(layout)
        need = best_placement(parts, self._layers, self._budget, layouts.n_gpu_layers)
        lacking = need.lacks(self._budget)
        return Choice(layout, need, parts, lacking, bool(self._budget.devices))

    def _wholes(self, layouts: LayoutRange) -> tuple[bool, ...]:
        """Whether all layers are to be on the devices: first they are, if they can be."""
        may_be_whole = self._budget.devices and layouts.n_gpu_layers is None
        return (True, False) if may_be_whole else (False,)

    def _in_order(self, layouts: LayoutRange, is_whole: bool) -> Iterator[Choice | None]:
        types = layouts.cache_types
        for cache_type in types[:2]:
            yield self._full(layouts, cache_type, is_whole)
        longest = (self._longest(layouts, cache_type, is_whole) for cache_type in types[:2])
        yield max(filter(None, longest), key=lambda one: one.layout.n_ctx_slot, default=None)
        for cache_type in types[2:]:
            yield self._longest(layouts, cache_type, is_whole)

    def _full(self, layouts: LayoutRange, cache_type: str, is_whole: bool) -> Choice | None:
        """The most slots of the whole context."""
        for n_slots in range(layouts.n_slots, layouts.min_slots - 1, -1):
            choice = self.placed(Layout(n_slots, layouts.n_ctx_slot, cache_type), layouts)
            if self._is_good(choice, is_whole):
                return choice
        return None

    def _longest(self, layouts: LayoutRange, cache_type: str, is_whole: bool) -> Choice | None:
        """The most context of the fewest slots."""
        low, high = 0, (layouts.n_ctx_slot - layouts.least) // PAD
        best = None
        for _ in range(_STEPS):
            if low > high:
                break
            middle = (low + high) // 2
            n_ctx_slot = layouts.least + middle * PAD
            choice = self.placed(Layout(layouts.min_slots, n_ctx_slot, cache_type), layouts)
            if self._is_good(choice, is_whole):
                best, low = choice, middle + 1
            else:
                high = middle - 1
        return best

    def _is_good(self, choice: Choice, is_whole: bool) -> bool:
        """Whether it fits; `is_whole` wants all layers on the devices."""
        return choice.fits and (not is_whole or choice.need.n_gpu_layers == self._layers.count)
