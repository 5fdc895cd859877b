"""Engines that end and start again; each leaves a folder of prefixes to the next."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.commands import EraseSlot
from scheduler.core.abilities import CacheAbilities
from scheduler.core.host_memory import HostMemory
from scheduler.engine.engine import Engine
from scheduler.storage.disk_cache import DiskCache
from scheduler.storage.fingerprint import Fingerprint
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import CountingBackend, alone, check_idle, make_request, prompt, run

RIGID = CacheAbilities(can_trim=False, can_checkpoint=True)
PATIENCE = 20.0
SECONDS = 5.0
HERE = Fingerprint(model="m", build="b", context="c")


class Life:
    """One engine on the folder, from its start to its end."""

    def __init__(
        self,
        folder: Path,
        *,
        fingerprint: Fingerprint = HERE,
        capacity: int = 1 << 20,
        cache_bytes: int = 10_000,
        tick: float = 0.001,
        backend: FakeBackend | None = None,
        **fields: Any,
    ) -> None:
        self.backend = backend or FakeBackend(**fields)
        ticks = itertools.count()
        self.engine = Engine(
            self.backend,
            lambda: next(ticks) * tick,
            itl_target=0.1,
            host_memory=HostMemory(cache_bytes),
            open_disk=lambda: DiskCache(folder, capacity, fingerprint),
        )
        assert self.engine.disk is not None
        self.disk = self.engine.disk
        self.disk.start(PATIENCE)

    def answer(self, tokens: list[int], **fields: Any) -> int:
        """Run a request, and check its answer; returns how many prompt tokens were cached."""
        request = make_request(1, tokens, max_tokens=fields.pop("max_tokens", 5), **fields)
        outcome = run(self.engine, request)[1]
        assert outcome.answer == alone(request, self.backend).answer
        check_idle(self.engine, self.backend)
        return outcome.num_cached

    def end(self) -> None:
        self.disk.save(SECONDS)
        self.engine.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(folder: Path) -> Callable[..., Life]:
    def start(**fields: Any) -> Life:
        return Life(folder, **fields)

    return start


def test_an_engine_begins_with_what_the_one_before_had(start: Callable[..., Life]) -> None:
    first = start(n_slots=2)
    for family in range(4):  # two end in slots, two in host memory
        assert first.answer(prompt(100, family)) == 0
    first.end()
    second = start(n_slots=2)
    for family in range(4):
        assert second.answer([*prompt(100, family), 77]) == 100
    second.end()


@pytest.mark.parametrize("has_no_cells", [False, True])
def test_checkpoints_outlive_their_engine(start: Callable[..., Life], has_no_cells: bool) -> None:
    fields: dict[str, Any] = {"abilities": RIGID, "n_slots": 2, "has_no_cells": has_no_cells}
    first = start(**fields)
    first.answer([*prompt(150), *prompt(40, 1)], partings=(150,))
    for family in (2, 3):  # the prefix is in host memory, not in a slot
        first.answer(prompt(100, family))
    first.end()
    for family in (4, 5):
        life = start(**fields)
        assert life.answer([*prompt(150), *prompt(40, family)], slot=1) == 150
        life.end()


def test_checkpoints_without_their_cells_are_not_saved(
    start: Callable[..., Life], folder: Path
) -> None:
    life = start(abilities=RIGID, n_slots=1)
    life.answer(prompt(180))
    life.engine.begin_slot_command(EraseSlot(1, 0))
    assert [len(entry.tokens) for entry in life.engine.scheduler.cache.host_cache] == [176]
    life.end()
    assert not folder.exists() or not list(folder.iterdir())


def test_salts_are_kept(start: Callable[..., Life]) -> None:
    first = start()
    first.answer(prompt(100), cache_salt="a")
    first.end()
    second = start()
    assert second.answer(prompt(100), cache_salt="b") == 0
    assert second.answer(prompt(100), cache_salt="a") == 99


def test_adapters_and_their_scales_are_kept(start: Callable[..., Life]) -> None:
    first = start()
    first.answer(prompt(100), lora=(("a", 0.5),))
    first.end()
    second = start()
    assert second.answer(prompt(100)) == 0
    assert second.answer(prompt(100), lora=(("a", 1.0),)) == 0
    assert second.answer(prompt(100), lora=(("a", 0.5),)) == 99


def test_nothing_is_written_twice(start: Callable[..., Life], folder: Path) -> None:
    first = start()
    first.answer(prompt(100))
    first.end()
    written = {path: path.stat().st_ino for path in folder.iterdir()}
    second = start()
    second.end()
    assert {path: path.stat().st_ino for path in folder.iterdir()} == written


def test_what_another_prefix_contains_is_not_saved(
    start: Callable[..., Life], folder: Path
) -> None:
    life = start()
    life.answer(prompt(80), slot=0, max_tokens=0)
    life.answer(prompt(100), slot=1, max_tokens=0)
    life.end()
    assert len(list(folder.iterdir())) == 1
    assert start().answer([*prompt(100), 7]) == 100


def test_short_prefixes_are_not_worth_a_file(start: Callable[..., Life], folder: Path) -> None:
    life = start()
    life.answer(prompt(20))
    life.end()
    assert not folder.exists() or not list(folder.iterdir())


def test_the_hottest_stay_when_the_folder_has_no_room_for_all(
    start: Callable[..., Life], folder: Path
) -> None:
    first = start(n_slots=1, capacity=2500)
    for family in (0, 1, 2, 0):
        first.answer(prompt(100, family))
    first.end()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2500
    second = start(n_slots=3)
    assert [second.answer(prompt(100, family)) for family in range(3)] == [99, 0, 99]


def test_the_hottest_are_loaded_when_memory_has_no_room_for_all(
    start: Callable[..., Life],
) -> None:
    first = start(n_slots=1)
    for family in (0, 1, 2, 0):
        first.answer(prompt(100, family))
    first.end()
    second = start(n_slots=1, cache_bytes=2500)
    assert len(second.engine.scheduler.cache.host_cache) == 2
    assert second.answer(prompt(100, 0)) == 99
    assert second.answer(prompt(100, 1)) == 0


def test_loaded_prefixes_are_the_first_to_go(start: Callable[..., Life]) -> None:
    first = start(n_slots=1)
    for family in range(3):
        first.answer(prompt(100, family))
    first.end()
    second = start(n_slots=1)
    order = [prefix.tokens[:100] for prefix in second.engine.scheduler.cache.host_cache]
    assert order == [prompt(100, family) for family in range(3)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "x"}, "it is of another model"),
        ({"build": "x"}, "it is of another build of llama.cpp"),
        ({"context": "x"}, "it is of another context"),
    ],
)
def test_what_belongs_elsewhere_is_ignored(
    start: Callable[..., Life],
    caplog: pytest.LogCaptureFixture,
    change: dict[str, str],
    words: str,
) -> None:
    first = start()
    first.answer(prompt(100))
    first.end()
    caplog.clear()
    values = {"model": "m", "build": "b", "context": "c", **change}
    with caplog.at_level(logging.WARNING):
        second = start(fingerprint=Fingerprint(**values))
    assert second.answer(prompt(100)) == 0
    assert [words in record.getMessage() for record in caplog.records] == [True]


def test_damaged_files_are_ignored(
    start: Callable[..., Life], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    for family in range(2):
        first.answer(prompt(100, family))
    first.end()
    (hot, cold) = sorted(folder.iterdir(), key=lambda path: -path.stat().st_mtime)
    content = bytearray(hot.read_bytes())
    content[-50] ^= 4
    hot.write_bytes(content)
    cold.write_bytes(cold.read_bytes()[:-7])
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        second = start()
    for family in range(2):
        assert second.answer(prompt(100, family)) == 0
    assert len(caplog.records) == 2
    assert all("it is damaged" in record.getMessage() for record in caplog.records)


def test_what_takes_long_to_load_comes_while_requests_are_served(
    start: Callable[..., Life], folder: Path
) -> None:
    first = start()
    first.answer(prompt(100))
    first.end()
    may_load = threading.Event()

    def open_slowly() -> DiskCache:
        may_load.wait(PATIENCE)
        return DiskCache(folder, 1 << 20, HERE)

    backend = FakeBackend()
    engine = Engine(
        backend, lambda: 0.0, itl_target=0.1, host_memory=HostMemory(10_000), open_disk=open_slowly
    )
    assert engine.disk is not None
    engine.disk.start(0.0)
    assert engine.awaits_files
    assert run(engine, make_request(1, prompt(100, 1)))[1].num_cached == 0
    may_load.set()
    while engine.awaits_files:
        engine.take_replies()
    assert run(engine, make_request(2, prompt(100)))[2].num_cached == 99
    check_idle(engine, backend)


def test_time_bounds_what_is_written(start: Callable[..., Life], folder: Path) -> None:
    # Each look at the clock finds that two seconds have gone by.
    life = start(tick=2.0)
    for family in range(4):
        life.answer(prompt(100, family), slot=family)
    life.end()
    assert len(list(folder.iterdir())) in (1, 2)


def test_a_folder_that_can_not_be_written_is_told_of_once(
    start: Callable[..., Life], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.touch()
    life = start()
    for family in range(2):
        life.answer(prompt(100, family))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        life.end()
    assert len(caplog.records) == 1
    assert "prefixes are not saved to" in caplog.text


def test_a_cache_that_breaks_at_the_end_is_told_of(
    start: Callable[..., Life], caplog: pytest.LogCaptureFixture
) -> None:
    backend = CountingBackend()
    life = start(backend=backend)
    life.answer(prompt(100))
    backend.edits_before_failure = 0
    life.end()
    assert "prefixes are not saved to" in caplog.text


def test_without_a_fingerprint_there_is_no_disk(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> DiskCache:
        raise FileNotFoundError(2, "No such file", "model.gguf")

    engine = Engine(FakeBackend(), lambda: 0.0, itl_target=0.1, open_disk=fail)
    assert engine.disk is not None
    engine.disk.start(PATIENCE)
    assert not engine.awaits_files
    engine.disk.save(SECONDS)
    assert "prefixes are not kept on disk" in caplog.text
