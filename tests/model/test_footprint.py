"""The estimate of a model's memory against what llama.cpp reserves when it loads the model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from protocol.config import DraftConfig, EngineConfig
from server.fit.errors import FitError
from server.fit.estimate import Estimator, estimate
from tests.support.measured_memory import measured
from tests.support.paths import DEMO_TARGET
from tests.support.shaped_models import SHAPES
from tests.support.tiny_models import ARCHITECTURES

N_CTX = {"mha": 8192, "gqa": 16384, "mla": 16384, "swa": 32768, "moe": 16384, "hybrid": 16384}
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shapes")
    paths = {name: folder / f"{name}.gguf" for name in SHAPES}
    for name, path in paths.items():
        SHAPES[name](path)
    return paths


def config_of(path: Path, **fields: object) -> EngineConfig:
    """A context that llama.cpp loads without mapping files, so that all buffers are reserved."""
    config = EngineConfig(model_path=str(path), load_mode="none", measure_costs=False, n_threads=1)
    return msgspec.structs.replace(config, **fields)


@pytest.mark.parametrize("cells", ["f16", "q8_0"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_estimate_is_what_is_reserved(
    name: str, cells: str, shapes: dict[str, Path], record_property: object
) -> None:
    config = config_of(
        shapes[name], n_ctx=N_CTX[name], cache_type_k=cells, cache_type_v=cells, warmup=False
    )
    parts = estimate(shapes[name], config).host
    real = measured(config)["buffers"]
    assert parts.kv > 10 << 20, "a cache that is too small to tell anything"
    for part, size in (("weights", "model"), ("kv", "KV"), ("state", "RS"), ("compute", "compute")):
        got, want = getattr(parts, part), real.get(size, 0)
        assert got == pytest.approx(want, rel=TOLERANCE, abs=1 << 16), part
    total = parts.total - parts.process - parts.output
    assert total == pytest.approx(sum(real.values()) - real["output"], rel=TOLERANCE)


@pytest.mark.parametrize("name", ["mha", "swa", "hybrid"])
def test_one_stream_for_all_slots_is_counted_as_such(name: str, shapes: dict[str, Path]) -> None:
    config = config_of(shapes[name], n_ctx=8192, kv_unified=True, warmup=False)
    parts, real = estimate(shapes[name], config).host, measured(config)["buffers"]
    total = parts.total - parts.process - parts.output
    assert total == pytest.approx(sum(real.values()) - real["output"], rel=TOLERANCE)


@pytest.mark.parametrize(
    ("n_train", "n_slots", "n_ctx", "n_ctx_slot"),
    [
        (32_768, 4, 0, 32_768),
        (262_144, 4, 65_536, 65_536),
        (262_144, 1, 65_536, 65_536),
        (262_144, 2, 65_536, 32_768),  # parts that are long
        (131_072, 4, 0, 32_768),
        (16_384, 2, 32_768, 16_384),  # parts that are all the model was trained for
        (16_384, 4, 32_768, 32_768),
    ],
)
def test_slots_share_a_context_whose_parts_would_be_short(
    n_train: int, n_slots: int, n_ctx: int, n_ctx_slot: int, shapes: dict[str, Path]
) -> None:
    config = config_of(
        shapes["mha"],
        n_slots=n_slots,
        n_ctx=n_ctx,
        kv_unified=None,
        metadata=(("llama.context_length", n_train),),
    )
    assert estimate(shapes["mha"], config).n_ctx_slot == n_ctx_slot


def test_whole_windows_take_more(shapes: dict[str, Path]) -> None:
    config = config_of(shapes["swa"], n_ctx=32768)
    windows, whole = (
        estimate(shapes["swa"], msgspec.structs.replace(config, swa_full=full)).host.kv
        for full in (False, True)
    )
    assert whole > 3 * windows


@pytest.mark.parametrize(("arch", "factor"), [("qwen35", 4), ("granite", 1)])
def test_snapshots_of_states_are_counted(arch: str, factor: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    ARCHITECTURES[arch](path)
    config = config_of(path, n_ctx=64 * 256, n_slots=64)
    with Estimator() as estimator:
        few, many = estimator.estimate(
            path, [config, msgspec.structs.replace(config, max_draft_tokens=3)]
        )
    assert few.host.state > 0
    assert many.host.state == pytest.approx(factor * few.host.state, rel=TOLERANCE)


def test_many_states_are_not_reserved_to_be_counted(shapes: dict[str, Path]) -> None:
    config = config_of(shapes["hybrid"], n_ctx=256 * 256, n_slots=256, warmup=False)
    parts, real = estimate(shapes["hybrid"], config).host, measured(config)["buffers"]
    assert parts.state > 256 << 20
    assert parts.state == pytest.approx(real["RS"], rel=TOLERANCE)
    total = parts.total - parts.process - parts.output
    assert total == pytest.approx(sum(real.values()) - real["output"], rel=TOLERANCE)


def test_the_process_takes_what_the_estimate_says(shapes: dict[str, Path]) -> None:
    config = config_of(shapes["mha"], n_ctx=16384, flash_attn="on")
    footprint, real = estimate(shapes["mha"], config), measured(config)
    assert footprint.total == pytest.approx(real["after"], rel=0.1)


def test_a_draft_model_and_adapters_count(shapes: dict[str, Path], tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(bytes(1 << 20))
    config = config_of(shapes["gqa"], n_ctx=4096)
    draft = DraftConfig(model_path=str(shapes["moe"]))
    plain, drafting, adapted = (
        estimate(shapes["gqa"], one).host
        for one in (
            config,
            msgspec.structs.replace(config, draft=draft),
            msgspec.structs.replace(config, adapter_paths=(str(adapter),)),
        )
    )
    alone = estimate(shapes["moe"], config).host
    assert drafting.weights == plain.weights + alone.weights
    assert drafting.kv == plain.kv + alone.kv
    assert adapted.adapters == 1 << 20


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_estimated(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.gguf"
    ARCHITECTURES[name](path)
    footprint = estimate(path, config_of(path, n_ctx=1024))
    assert footprint.host.weights > 0
    assert footprint.n_ctx >= 1024
    assert not footprint.devices


def test_one_process_estimates_many_contexts() -> None:
    sizes = (1024, 2048, 4096)
    with Estimator() as estimator:
        found = estimator.estimate(DEMO_TARGET, [config_of(DEMO_TARGET, n_ctx=n) for n in sizes])
    assert [one.n_ctx for one in found] == list(sizes)
    assert found[0].host.kv < found[1].host.kv < found[2].host.kv
    assert len({one.host.weights for one in found}) == 1


def test_files_that_cannot_be_planned_are_errors(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(DEMO_TARGET.read_bytes()[:5000])
    with pytest.raises(FitError, match=r"broken\.gguf"):
        estimate(broken, config_of(broken))
    with pytest.raises(FitError, match=r"--parallel must be at most"):
        estimate(DEMO_TARGET, config_of(DEMO_TARGET, n_slots=100_000, n_ctx=1 << 20))
