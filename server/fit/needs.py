"""What layouts of one model take, asked of llama.cpp at a few contexts and interpolated between."""

from __future__ import annotations

import bisect
from pathlib import Path

import msgspec

from protocol.footprint import Footprint, PartBytes
from server.fit.choice import Layout
from server.fit.errors import FitError
from server.fit.estimate import Estimator, LoadOptions

NO_DEVICE = ("none",)


class Needs:
    """The parts of each layout, with all layers on the host.

    Memory grows with the context in straight lines that bend upwards at most. So a value between
    two that are known is never too small.
    """

    def __init__(
        self, estimator: Estimator, path: Path, options: LoadOptions, corners: tuple[int, ...]
    ) -> None:
        """`corners` are contexts of a slot that llama.cpp is asked about."""
        self._estimator = estimator
        self._path = path
        self._options = msgspec.structs.replace(options, devices=NO_DEVICE, n_gpu_layers=0)
        self._corners = sorted(set(corners))
        self._known: dict[Layout, Footprint] = {}

    def footprint(self, layout: Layout) -> Footprint:
        """What llama.cpp tells. Raises `FitError`."""
        if layout not in self._known:
            options = with_layout(self._options, layout)
            self._known[layout] = self._estimator.estimate(self._path, [options])[0]
        return self._known[layout]

    def supports(self, cache_type: str) -> bool:
        """Whether cells of the type are possible with this model."""
        try:
            self.footprint(Layout(1, self._corners[0], cache_type))
        except FitError:
            return False
        return True

    def parts(self, layout: Layout) -> PartBytes:
        """What a layout takes."""
        above = bisect.bisect_left(self._corners, layout.n_ctx_slot)
        if above == len(self._corners) or self._corners[above] == layout.n_ctx_slot or not above:
            return self.footprint(layout).host
        low, high = self._corners[above - 1], self._corners[above]
        share = (layout.n_ctx_slot - low) / (high - low)
        ends = (self.footprint(with_context(layout, n_ctx_slot)).host for n_ctx_slot in (low, high))
        pairs = zip(*map(msgspec.structs.astuple, ends), strict=True)
        values = (round(a + (b - a) * share) for a, b in pairs)
        return PartBytes(**dict(zip(PartBytes.__struct_fields__, values, strict=True)))


def with_layout(options: LoadOptions, layout: Layout) -> LoadOptions:
    """The options with another layout of the context."""
    type_k, _, type_v = layout.cache_type.partition("/")
    return msgspec.structs.replace(
        options,
        n_slots=layout.n_slots,
        n_ctx=layout.n_ctx,
        cache_type_k=type_k,
        cache_type_v=type_v or type_k,
    )


def with_context(layout: Layout, n_ctx_slot: int) -> Layout:
    """The layout with another context of a slot."""
    return Layout(layout.n_slots, n_ctx_slot, layout.cache_type)
