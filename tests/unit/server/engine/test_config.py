"""The engine's configuration for the operator's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from protocol.config import CheckpointConfig, DraftConfig, EngineConfig, NgramConfig
from scheduler.backends.llama.loading import (
    CACHE_TYPES,
    FLASH_ATTENTION,
    ROPE_SCALINGS,
    SPLIT_MODES,
)
from server.engine.config import engine_config


def config_for(*flags: str) -> EngineConfig:
    return engine_config(load_settings(flags, {}), Path("m.gguf"), "INFO")


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ((), "model_path", "m.gguf"),
        (("-np", "7"), "n_slots", 7),
        (("-np", "7", "--no-cont-batching"), "n_slots", 1),
        (("-c", "4096"), "n_ctx", 4096),
        (("-b", "256"), "n_batch", 256),
        (("-ub", "128"), "n_ubatch", 128),
        (("-t", "3"), "n_threads", 3),
        (("-t", "-1"), "n_threads", 0),
        (("-tb", "5"), "n_threads_batch", 5),
        (("--prio", "2"), "priority", 2),
        (("--override-kv", "a=int:1"), "metadata", (("a", 1),)),
        (("--check-tensors",), "check_tensors", True),
        (("--lazy-mode", "on"), "lazy_mode", "on"),
        (("-dev", "none"), "devices", ("none",)),
        (("--no-host",), "host_buffers", False),
        (("--no-op-offload",), "op_offload", False),
        (("--poll", "0"), "poll", 0),
        (("--sampling-threads", "3"), "sampling_threads", 3),
        (("-bs",), "backend_sampling", True),
        ((), "backend_sampling", False),
        (("--numa", "numactl"), "numa", "numactl"),
        (("-ctk", "q8_0"), "cache_type_k", "q8_0"),
        (("-ctv", "q4_0"), "cache_type_v", "q4_0"),
        ((), "kv_unified", None),
        ((), "idle_slots_stay", False),
        (("--slot-save-path", "."), "idle_slots_stay", True),
        (("-np", "-1"), "kv_unified", None),
        (("-np", "4"), "kv_unified", False),
        (("-np", "4", "-kvu"), "kv_unified", True),
        (("-kvu",), "kv_unified", True),
        (("-no-kvu",), "kv_unified", False),
        (("-fa", "off"), "flash_attn", "off"),
        (("--no-warmup",), "warmup", False),
        (("--cache-ram", "2"), "cache_ram_bytes", 2 * 1024 * 1024),
        ((), "checkpoints", CheckpointConfig(per_slot=32, step=8192)),
        (("--ctx-checkpoints", "3"), "checkpoints", CheckpointConfig(per_slot=3)),
        (("--swa-checkpoints", "0"), "checkpoints", CheckpointConfig(per_slot=0)),
        (("-cms", "512"), "checkpoints", CheckpointConfig(step=512)),
        (("--itl-target-ms", "50"), "itl_target_ms", 50.0),
        ((), "cache_disk", ""),
        (("--cache-disk", "/tmp/x"), "cache_disk", "/tmp/x"),
        (("--cache-disk-size", "3"), "cache_disk_bytes", 3 * 1024 * 1024),
        ((), "draft", None),
        ((), "max_draft_tokens", 0),
        (("-md", "d.gguf"), "max_draft_tokens", 16),
        (("-md", "d.gguf", "--spec-type", "draft-simple,ngram-mod"), "max_draft_tokens", 64),
        (("-md", "d.gguf", "--spec-draft-n-max", "3"), "max_draft_tokens", 3),
        (("--spec-ngram-simple-size-n", "4"), "ngram", NgramConfig(simple_size=4)),
        (("--spec-ngram-simple-min-hits", "2"), "ngram", NgramConfig(simple_min_hits=2)),
        (("--spec-ngram-mod-n-match", "6"), "ngram", NgramConfig(shared_size=6)),
        (("--no-measure-costs",), "measure_costs", False),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_flag_reaches_the_engine(flags: tuple[str, ...], field: str, value: Any) -> None:
    assert getattr(config_for(*flags), field) == value


@pytest.mark.parametrize(
    ("flag", "field", "known"),
    [
        ("-ctk", "cache_type_k", CACHE_TYPES),
        ("-ctv", "cache_type_v", CACHE_TYPES),
        ("-fa", "flash_attn", FLASH_ATTENTION),
        ("-sm", "split_mode", SPLIT_MODES),
        ("--rope-scaling", "rope_scaling", {k: v for k, v in ROPE_SCALINGS.items() if k}),
    ],
)
def test_every_name_that_the_engine_knows_can_be_given(
    flag: str, field: str, known: dict[str, int]
) -> None:
    for name in known:
        assert getattr(config_for(flag, name), field) == name


def test_defaults_are_names_that_the_engine_knows() -> None:
    config = config_for()
    assert config.cache_type_k in CACHE_TYPES
    assert config.flash_attn in FLASH_ATTENTION
    assert config.split_mode in SPLIT_MODES
    assert config.rope_scaling in ROPE_SCALINGS


def test_how_the_draft_model_is_loaded() -> None:
    flags = ["-md", "d.gguf", "-td", "3", "-ngld", "5", "-ctkd", "q8_0", "-ctvd", "q4_0"]
    settings = load_settings(flags, {})
    config = engine_config(settings, Path("m.gguf"), "INFO", Path("d.gguf"))
    assert config.draft == DraftConfig(
        model_path="d.gguf",
        n_threads=3,
        n_threads_batch=3,
        n_gpu_layers=5,
        cache_type_k="q8_0",
        cache_type_v="q4_0",
    )


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/var/cache/x"}, "/var/cache/x/llamapack/costs"),
        ({}, str(Path.home() / ".cache" / "llamapack" / "costs")),
    ],
)
def test_measured_costs_are_kept_in_the_users_cache(environ: dict[str, str], folder: str) -> None:
    config = engine_config(load_settings([], {}), Path("m.gguf"), "INFO", environ=environ)
    assert config.cost_folder == folder


def test_a_user_without_a_home_keeps_no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    config = engine_config(load_settings([], {}), Path("m.gguf"), "INFO", environ={})
    assert config.cost_folder == ""
