"""What is chosen for a budget: what a user loses least by comes first."""

from __future__ import annotations

import pytest

from protocol.footprint import PartBytes
from server.fit.budget import Budget
from server.fit.choice import Choice, Chooser, Layout, LayoutRange
from server.fit.layers import LayerBytes, Layers

MB = 1_000_000
RANGE = LayoutRange(n_slots=4, n_ctx_slot=16_384, min_ctx_slot=4096)
BLOCK = LayerBytes(10 * MB, 10 * MB)
LAYERS = Layers(LayerBytes(50 * MB), (BLOCK,) * 10, BLOCK)
WEIGHTS = LAYERS.stored
CELL = {"f16": 4000, "q8_0": 2000, "q4_0": 1000}


def parts_of(layout: Layout) -> PartBytes:
    cell = CELL[layout.cache_type.partition("/")[0]]
    return PartBytes(weights=WEIGHTS, kv=cell * layout.n_ctx, compute=5 * MB)


def choose(budget: Budget, layouts: LayoutRange = RANGE) -> Choice:
    return Chooser(parts_of, LAYERS, budget).choose(layouts)


def layout(budget: Budget, layouts: LayoutRange = RANGE) -> tuple[int, int, str]:
    found = choose(budget, layouts)
    assert found.fits
    assert found.need.host <= budget.host
    assert found.need.device <= budget.device
    return found.layout.n_slots, found.layout.n_ctx_slot, found.layout.cache_type


def host(megabytes: float) -> Budget:
    return Budget(round(megabytes * MB))


def test_with_room_nothing_is_given_up() -> None:
    assert layout(host(1000)) == (4, 16_384, "f16")


def test_slots_go_first() -> None:
    assert layout(host(165 + 3 * 66)) == (3, 16_384, "f16")
    assert layout(host(165 + 66)) == (1, 16_384, "f16")


def test_then_cells_become_smaller() -> None:
    assert layout(host(165 + 40)) == (1, 16_384, "q8_0")


def test_then_the_context() -> None:
    slots, tokens, cells = layout(host(165 + 20))
    assert (slots, cells) == (1, "q8_0")
    assert 4096 <= tokens < 16_384
    assert tokens % 256 == 0
    assert not _fits(tokens + 256, "q8_0", 165 + 20)


def test_then_cells_of_four_bits() -> None:
    slots, tokens, cells = layout(host(165 + 6))
    assert (slots, cells) == (1, "q4_0")
    assert tokens >= 4096


def test_what_does_not_fit_says_what_is_lacking() -> None:
    found = choose(host(100))
    assert not found.fits
    least = WEIGHTS + 5 * MB + 4096 * CELL["q4_0"]
    assert found.lacking == least - 100 * MB


def test_what_is_given_stays() -> None:
    fixed = LayoutRange(4, 8192, 8192, ("f16",), keeps_slots=True)
    assert layout(host(165 + 4 * 33), fixed) == (4, 8192, "f16")
    assert not choose(host(165 + 4 * 32), fixed).fits


def test_a_short_context_is_wanted_whole() -> None:
    assert layout(host(1000), LayoutRange(2, 512, 4096)) == (2, 512, "f16")


@pytest.mark.parametrize("devices", [(400,), (200, 200)])
def test_all_layers_go_to_devices_with_room(devices: tuple[int, ...]) -> None:
    found = choose(Budget(500 * MB, tuple(size * MB for size in devices)))
    assert found.fits
    assert found.need.n_gpu_layers == LAYERS.count
    assert found.need.device > 2 * found.need.host


def test_context_is_given_up_before_layers_leave_the_device() -> None:
    found = choose(Budget(500 * MB, (140 * MB,)))
    assert found.fits
    assert found.need.n_gpu_layers == LAYERS.count
    assert (found.layout.n_ctx_slot, found.layout.cache_type) != (16_384, "f16")


def test_layers_stay_on_the_host_if_the_device_is_too_small() -> None:
    found = choose(Budget(900 * MB, (80 * MB,)))
    assert found.fits
    assert 0 < found.need.n_gpu_layers < LAYERS.count
    assert found.need.device <= 80 * MB


def test_given_layers_stay() -> None:
    layouts = LayoutRange(1, 4096, 4096, ("f16",), n_gpu_layers=3)
    found = choose(Budget(900 * MB, (900 * MB,)), layouts)
    assert found.fits
    assert found.need.n_gpu_layers == 3


def test_the_most_of_each_type() -> None:
    chooser = Chooser(parts_of, LAYERS, host(165 + 34))
    most = [chooser.most(RANGE, cells).layout for cells in ("f16", "q8_0", "q4_0")]
    assert [one.n_slots for one in most] == [1, 1, 2]
    assert most[0].n_ctx_slot < most[1].n_ctx_slot == most[2].n_ctx_slot == 16_384


def _fits(tokens: int, cells: str, megabytes: float) -> bool:
    return parts_of(Layout(1, tokens, cells)).total <= megabytes * MB
