"""Whether a model fits: what it needs against what there is."""

from __future__ import annotations

import pytest

from protocol.footprint import DeviceMemory, Footprint, PartBytes
from server.catalog import model_fit
from server.catalog.model_fit import ModelFit, Room, Verdict, room_for
from server.pool.interface import ModelState, ServedModel
from server.pool.memory import NO_MEMORY, MemoryUse


def footprint(host: int, device: int = 0) -> Footprint:
    devices = {"GPU0": PartBytes(weights=device)} if device else {}
    return Footprint(
        host=PartBytes(weights=host),
        devices=devices,
        n_ctx=512,
        n_ctx_slot=512,
        n_slots=1,
        n_layers=2,
        n_ctx_train=512,
        flash_attn="auto",
    )


def served(name: str, state: ModelState, memory: MemoryUse | None) -> ServedModel:
    return ServedModel(name=name, path=f"/models/{name}.gguf", state=state, memory=memory)


@pytest.mark.parametrize(
    ("host", "device", "verdict", "lacking"),
    [
        (30, 0, Verdict.BESIDE, NO_MEMORY),
        (31, 0, Verdict.INSTEAD, MemoryUse(1, 0)),
        (80, 0, Verdict.INSTEAD, MemoryUse(50, 0)),
        (81, 0, Verdict.NO, MemoryUse(51, 0)),
        (10, 5, Verdict.BESIDE, NO_MEMORY),
        (10, 6, Verdict.INSTEAD, MemoryUse(0, 1)),
        (10, 9, Verdict.NO, MemoryUse(0, 4)),
    ],
)
def test_the_verdict(host: int, device: int, verdict: Verdict, lacking: MemoryUse) -> None:
    room = Room(free=MemoryUse(30, 5), total=MemoryUse(100, 8), taken=MemoryUse(50, 3))
    fit = ModelFit(footprint(host, device), room)
    assert (fit.verdict, fit.lacking) == (verdict, lacking)


def test_what_a_loaded_model_has_is_its_own() -> None:
    room = Room(free=MemoryUse(5), total=MemoryUse(100), taken=MemoryUse(50), own=MemoryUse(40))
    assert ModelFit(footprint(45), room).verdict is Verdict.BESIDE
    assert ModelFit(footprint(46), room).verdict is Verdict.INSTEAD


def test_the_room_counts_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fit, "free_host_bytes", lambda: 30)
    monkeypatch.setattr(model_fit, "usable_memory", lambda: 100)
    models = [
        served("asked", ModelState.LOADED, MemoryUse(7, 1)),
        served("loaded", ModelState.LOADED, MemoryUse(20, 2)),
        served("loading", ModelState.LOADING, MemoryUse(3)),
        served("asleep", ModelState.SLEEPING, MemoryUse(500)),
        served("new", ModelState.LOADED, None),
    ]
    devices = [
        DeviceMemory(name="GPU0", description="", total=16, free=6),
        DeviceMemory(name="GPU1", description="", total=16, free=4),
    ]
    room = room_for(models[0], models, devices)
    assert room == Room(MemoryUse(30, 10), MemoryUse(100, 32), MemoryUse(23, 2), MemoryUse(7, 1))
