"""Steps are timed before the first request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.config import DraftConfig, EngineConfig
from scheduler.batching.micro_batches import MicroBatch
from scheduler.engine.calibration import MAX_SECONDS, MAX_SMALL, MIN_STEPS_TO_KEEP, costs_of
from tests.support.fake_backend import FakeBackend


class TimedBackend(FakeBackend):
    """A machine on which a row takes 0.01 s, with its clock."""

    now = 0.0
    num_timed = 0
    seconds_a_row = 0.01

    def time_rows(self, num_slots: int, num_rows: int) -> float:
        assert num_rows % num_slots == 0
        assert num_slots <= self.n_slots
        assert num_rows // num_slots <= self.n_ctx_slot
        self.num_timed += 1
        self.now += self.seconds_a_row * num_rows
        return self.seconds_a_row * num_rows

    def clock(self) -> float:
        return self.now


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    return EngineConfig(model_path=str(model), cost_folder=str(tmp_path / "costs"))


def measure(config: EngineConfig, **fields: Any) -> tuple[TimedBackend, dict[int, float]]:
    backend = TimedBackend(**fields)
    costs = costs_of(config, backend, backend.clock)
    return backend, {} if costs.step is None else costs.step.table().by_rows


def test_each_small_number_of_rows_is_timed_and_then_powers_of_two(config: EngineConfig) -> None:
    TimedBackend.seconds_a_row = 0.0001
    _, table = measure(config, n_slots=8, n_ctx_slot=2048, n_batch=512)
    assert list(table) == [*range(1, MAX_SMALL + 1), 64, 128, 256, 512]
    assert table[7] == pytest.approx(0.0007)


def test_a_slow_model_is_not_timed_for_longer_than_it_may(config: EngineConfig) -> None:
    TimedBackend.seconds_a_row = 0.1
    backend, table = measure(config, n_ctx_slot=2048, n_batch=512)
    assert 1 in table
    assert backend.now < MAX_SECONDS + 0.1 * 512
    assert len(table) < 10


def test_the_second_start_reads_what_the_first_one_found(config: EngineConfig) -> None:
    TimedBackend.seconds_a_row = 0.0001
    first, table = measure(config)
    second, again = measure(config)
    assert first.num_timed > 0
    assert second.num_timed == 0
    assert again == table


def test_another_configuration_is_timed_again(config: EngineConfig) -> None:
    measure(config)
    backend, _ = measure(msgspec.structs.replace(config, n_threads=7))
    assert backend.num_timed > 0


def test_a_damaged_file_is_timed_again(config: EngineConfig) -> None:
    measure(config)
    (file,) = Path(config.cost_folder).iterdir()
    for damage in ("", "{}", '{"decode": {"1": -1}, "prefill": {"1": 0}}', "[1]"):
        file.write_text(damage)
        backend, table = measure(config)
        assert backend.num_timed > 0
        assert min(table.values()) > 0


def test_a_folder_that_can_not_be_written_is_no_error(config: EngineConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, table = measure(msgspec.structs.replace(config, cost_folder=str(tmp_path / "file" / "x")))
    assert table


def test_what_running_steps_taught_is_kept_for_the_next_start(config: EngineConfig) -> None:
    TimedBackend.seconds_a_row = 0.0001
    backend = TimedBackend()
    costs = costs_of(config, backend, backend.clock)
    assert costs.step is not None
    for _ in range(MIN_STEPS_TO_KEEP):
        costs.step.observe([MicroBatch(1, 1)], 0.001)
    costs.keep()
    _, again = measure(config)
    assert again[1] == pytest.approx(0.001, rel=0.1)


def test_it_can_be_turned_off(config: EngineConfig) -> None:
    backend, table = measure(msgspec.structs.replace(config, measure_costs=False))
    assert (backend.num_timed, table) == (0, {})


def test_a_draft_model_has_costs_of_its_own(config: EngineConfig) -> None:
    draft = Path(config.model_path).with_name("draft.gguf")
    draft.write_bytes(b"GGUF")
    with_draft = msgspec.structs.replace(config, draft=DraftConfig(model_path=str(draft)))
    backend = TimedBackend()
    costs = costs_of(with_draft, backend, backend.clock)
    assert costs.draft is not None
    assert costs.draft.micro_batch_seconds(1, 1) == 1.0
