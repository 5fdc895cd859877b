"""Flash attention is chosen by measuring, once; later starts keep the choice."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from protocol.config import EngineConfig
from scheduler.backends.cost_file import CostFile
from scheduler.backends.llama import flash_attention
from scheduler.backends.llama.flash_attention import Times, Ways, faster
from scheduler.engine.calibration import costs_of
from tests.support.backends import make_backend
from tests.support.paths import DEMO_TARGET

QUICK, SLOW = Times(0.001, 0.002, 0.01), Times(0.01, 0.02, 0.1)
N_CTX_SLOT = 512


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    return {"n_slots": 2, "n_ctx": 2 * N_CTX_SLOT, "cost_folder": str(tmp_path / "costs")}


def config_of(fields: dict[str, Any]) -> EngineConfig:
    return EngineConfig(model_path=str(DEMO_TARGET), n_threads=1, warmup=False, **fields)


def content(fields: dict[str, Any]) -> dict[str, Any]:
    (file,) = Path(fields["cost_folder"]).iterdir()
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def chosen(fields: dict[str, Any]) -> str:
    backend = make_backend(**fields)
    try:
        assert backend.info.flash_attn in backend.fingerprint.context
        return backend.info.flash_attn
    finally:
        backend.close()


def opposite(choice: str) -> str:
    return {"on": "off", "off": "on"}[choice]


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(model: Any, config: EngineConfig, usual: str) -> str:
        raise AssertionError("both ways were measured again")

    monkeypatch.setattr(flash_attention, "_measured", measured)


def test_both_ways_are_measured_and_the_choice_is_kept_and_logged(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choice = chosen(fields)
    assert choice in ("on", "off")
    assert content(fields) == {"flash_attn": choice}
    assert f"flash attention is {choice}, which was measured as faster" in caplog.text


@pytest.mark.parametrize("kept", ["on", "off"])
def test_a_later_start_keeps_the_choice_whatever_is_faster_by_then(
    fields: dict[str, Any], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    file = CostFile.of(config_of(fields), str(DEMO_TARGET))
    assert file is not None
    assert file.keep_choice(kept)
    assert chosen(fields) == kept


def test_costs_are_kept_beside_the_choice(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend(**fields)
    costs = costs_of(config_of(fields), backend, iter(range(10**6)).__next__)
    assert costs.step is not None
    backend.close()
    found = content(fields)
    assert set(found) == {"decode", "prefill", "flash_attn"}
    forbid(monkeypatch)
    assert chosen(fields) == found["flash_attn"]


def test_costs_that_were_measured_without_a_choice_are_measured_again(
    fields: dict[str, Any],
) -> None:
    file = CostFile.of(config_of(fields), str(DEMO_TARGET))
    assert file is not None
    assert file.keep_costs({1: 1.0}, {1: 1.0})
    choice = chosen(fields)
    assert content(fields) == {"flash_attn": choice}
    assert not file.read().has_costs


@pytest.mark.parametrize("damage", ["", "[]", '{"flash_attn": "perhaps"}', '{"flash_attn": 1}'])
def test_a_damaged_file_is_replaced(fields: dict[str, Any], damage: str) -> None:
    chosen(fields)
    (file,) = Path(fields["cost_folder"]).iterdir()
    file.write_text(damage)
    assert content_after_start(fields) in ("on", "off")


def content_after_start(fields: dict[str, Any]) -> str:
    choice = chosen(fields)
    assert content(fields) == {"flash_attn": choice}
    return choice


@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_setting_is_not_measured(
    fields: dict[str, Any], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    assert chosen({**fields, "flash_attn": setting}) == setting
    assert not Path(fields["cost_folder"]).exists()


@pytest.mark.parametrize(
    "other", [{"cost_folder": ""}, {"measure_costs": False}, {"cache_type_v": "q8_0"}]
)
def test_what_can_not_be_kept_or_is_needed_is_not_measured(
    fields: dict[str, Any], other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    assert chosen({**fields, **other}) in ("auto", "off")


def test_a_folder_that_can_not_be_written_leaves_the_rule(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    by_rule = chosen({**fields, "cost_folder": ""})
    for measured in ("on", "off"):
        monkeypatch.setattr(flash_attention, "_measured", lambda *args, m=measured: m)
        assert chosen({**fields, "cost_folder": str(tmp_path / "file" / "x")}) == by_rule


def test_a_machine_that_is_too_slow_to_measure_keeps_the_rule(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash_attention, "FILL_SECONDS", 0.0)
    by_rule = chosen({**fields, "cost_folder": ""})
    assert chosen(fields) == by_rule


@pytest.mark.parametrize("n_ctx_slot", [1024, 4096, 131_072])
def test_the_way_that_is_faster_at_all_depths_is_chosen(n_ctx_slot: int) -> None:
    for usual in ("on", "off"):
        slow_with_it = Ways((QUICK, QUICK), (SLOW, SLOW), 512)
        assert faster(slow_with_it, n_ctx_slot, usual) == "off"
        quick_with_it = Ways((SLOW, SLOW), (QUICK, QUICK), 512)
        assert faster(quick_with_it, n_ctx_slot, usual) == "on"
        assert faster(Ways((SLOW, SLOW), (SLOW, SLOW), 512), n_ctx_slot, usual) == usual


def test_long_slots_weigh_the_depths() -> None:
    """With flash attention the begin is faster, and what comes late in a long slot is slower."""
    without = Times(0.0080, 0.0150, 0.060), Times(0.0090, 0.0170, 0.080)
    with_it = Times(0.0070, 0.0130, 0.055), Times(0.0090, 0.0180, 0.110)
    assert faster(Ways(without, with_it, 1024), 1024, "off") == "on"
    assert faster(Ways(without, with_it, 1024), 16_384, "on") == "off"
