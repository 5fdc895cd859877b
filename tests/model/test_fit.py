"""`llamapack fit`, and `--fit` on serve, with the demo model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config import ServeSettings, load_settings
from protocol.footprint import DeviceMemory
from server.catalog.model_fit import FitDesk
from server.commands.fit import parsed_size, run
from server.engine.config import engine_config
from server.errors import InvalidRequest
from server.fit import fitting
from server.fit.errors import FitError
from server.fit.estimate import Estimator
from server.fit.fitting import Fitted, Fitting
from server.model.inspection import Inspector
from tests.support.local_hub import environment, local_hub
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET
from tests.support.shaped_models import mha, moe

MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "large-F16.gguf"
    mha(path)
    return path


def fit(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run(["--json", "--bandwidth", "10", *words], {}) == code
    return json.loads(capsys.readouterr().out)


def test_a_model_that_fits(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = fit(capsys, str(large), "--memory", "16G", "-c", "16384", "-np", "2")
    (model,) = report["models"]
    assert model["verdict"] == "fits"
    assert model["quantization"] == "F16"
    assert model["best"]["slots"] == 2
    assert model["best"]["ctx_size"] == 16384
    assert model["best"]["host"] < 16 << 30
    assert report["memory"] == {"host": 16 << 30, "devices": []}
    assert model["tokens_per_second"] == pytest.approx(10e9 / model["bytes_per_token"], rel=0.01)


def test_less_memory_takes_smaller_cells_and_then_less_context(
    large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = fit(capsys, str(large), "--memory", "16G", "-np", "1")["models"][0]
    need = whole["best"]["host"] // MIB + 1
    smaller = fit(capsys, str(large), "--memory", f"{need - 20}M", "-np", "1")["models"][0]
    assert smaller["verdict"] == "fits with q8_0 cells"
    assert smaller["by_cache_type"]["f16"]["tokens_per_slot"] < 32768
    assert smaller["by_cache_type"]["q4_0"]["tokens_per_slot"] == 32768
    tight = fit(capsys, str(large), "--memory", "260M", "-np", "1")["models"][0]
    assert re.fullmatch(r"fits with q[48]_0 cells, [\d,]+ tokens", tight["verdict"])
    assert tight["best"]["host"] <= 260 * MIB


def test_what_does_not_fit_is_said_and_the_command_fails(
    large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model,) = fit(capsys, str(large), "--memory", "64", code=1)["models"]
    assert not model["fits"]
    assert model["verdict"].startswith("does not fit: ")
    assert model["best"]["lacking"] > 0


def test_layers_go_to_a_device_as_far_as_there_is_room(
    large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (str(large), "--memory", "8G", "-c", "8192", "-np", "1", "--device-bandwidth", "100")
    all_of_it = fit(capsys, *flags, "--device-memory", "8G")["models"][0]
    assert all_of_it["verdict"] == "fits"
    assert all_of_it["best"]["n_gpu_layers"] == all_of_it["n_layers"] == 7
    least = all_of_it["by_cache_type"]["q4_0"]["device"] // MIB
    some = fit(capsys, *flags, "--device-memory", f"{least - 15}M")["models"][0]
    assert 0 < some["best"]["n_gpu_layers"] < 7
    assert "layers on the device" in some["verdict"]
    assert some["tokens_per_second"] < all_of_it["tokens_per_second"]


def test_experts_that_are_not_asked_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "moe.gguf"
    moe(path)
    (model,) = fit(capsys, str(path), "--memory", "8G", "-c", "256", "-np", "1")["models"]
    assert model["bytes_per_token"] < model["size"] * 0.7


def test_drafts_and_adapters_take_memory_too(
    large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(bytes(8 * MIB))
    flags = (str(large), "--memory", "8G", "-c", "4096", "-np", "1")
    plain, drafting, adapted = (
        fit(capsys, *flags, *more)["models"][0]["best"]["host"]
        for more in ((), ("-md", str(DEMO_DRAFT)), ("--lora", str(adapter)))
    )
    assert drafting > plain + DEMO_DRAFT.stat().st_size // 2
    assert adapted == pytest.approx(plain + 8 * MIB, abs=MIB)


def test_the_table_is_for_people(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(large), "--memory", "4G", "--bandwidth", "20"], {}) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Given: 4.00 GiB of the host. Wanted: 32,768 tokens")
    assert shown[2].split()[0] == "QUANT"
    assert shown[3].split()[0] == "F16"
    assert shown[3].endswith("fits")


def test_a_repository_is_judged_by_one_header(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    content = DEMO_TARGET.read_bytes()
    with local_hub() as hub:
        hub.repos["u/r"] = {
            "m-Q4_0.gguf": content,
            "m-F16.gguf": content + bytes(60 * MIB),
            "m-F32.gguf": content + bytes(160 * MIB),
        }
        words = ["u/r", "--memory", "200M", "--json", "--bandwidth", "10"]
        assert run(words, environment(hub, tmp_path)) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["quantization"] for one in report["models"]] == ["Q4_0", "F16", "F32"]
    hosts = [one["best"]["host"] for one in report["models"]]
    assert hosts[0] < hosts[1] <= hosts[2]
    assert [one["fits"] for one in report["models"]] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("512", 512 * MIB), ("1.5G", 3 << 29), ("24 GiB", 24 << 30), ("100mb", 100 * MIB)],
)
def test_sizes(text: str, num_bytes: int) -> None:
    assert parsed_size(text) == num_bytes


# --- serve ---


class PlannedDevices(Estimator):
    """An estimator on a machine that has devices."""

    def __init__(self, *devices: DeviceMemory) -> None:
        super().__init__()
        self._devices = devices

    def devices(self) -> tuple[DeviceMemory, ...]:
        return self._devices


def fitted(model: Path, host: int, flags: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Fitted:
    from server.fit.budget import Budget

    monkeypatch.setattr(fitting, "this_machine", lambda devices: Budget(host, ()))
    settings = load_settings(["--fit", "on", "-m", str(model), *flags], {})
    inspector = Inspector()
    try:
        with PlannedDevices() as estimator:
            return Fitting(estimator, inspector).fitted(settings, model)
    finally:
        inspector.close()


def test_serve_chooses_what_is_not_given(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = fitted(large, 64 << 30, (), monkeypatch)
    assert roomy.settings.ctx_size == 4 * 32768
    assert (roomy.settings.parallel, roomy.settings.cache_type_k) == (4, "f16")
    assert "--ctx-size 131072 --parallel 4" in roomy.lines[0]
    tight = fitted(large, (1024 + 500) * MIB, (), monkeypatch)
    assert tight.settings.parallel == 1
    assert tight.settings.cache_type_k == tight.settings.cache_type_v != "f16"
    assert tight.footprint.host.total <= 500 * MIB
    assert "more does not fit" in tight.lines[1]


def test_what_the_operator_gives_stays(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("-c", "8192", "-np", "2", "-ctk", "q8_0", "--fit-target", "0")
    found = fitted(large, 8 << 30, flags, monkeypatch)
    before: ServeSettings = load_settings(["--fit", "on", "-m", str(large), *flags], {})
    for name in ("ctx_size", "parallel", "cache_type_k", "cache_type_v"):
        assert getattr(found.settings, name) == getattr(before, name)


def test_a_server_that_cannot_fit_does_not_start(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FitError, match="not even 1 slot of 4,096 tokens fit"):
        fitted(large, 1100 * MIB, (), monkeypatch)


def test_off_changes_nothing() -> None:
    assert load_settings([], {}).fit == "off"
    assert load_settings([], {"LLAMA_ARG_FIT": "on", "LLAMA_ARG_FIT_TARGET": "512,256"}).fit == "on"


def test_draft_models_count(monkeypatch: pytest.MonkeyPatch) -> None:
    options = load_settings(["-md", str(DEMO_DRAFT), "-c", "2048"], {})
    from server.engine.config import engine_config

    with Estimator() as estimator:
        both = engine_config(options, DEMO_TARGET, "INFO", DEMO_DRAFT)
        alone = engine_config(options, DEMO_TARGET, "INFO")
        one, two = estimator.estimate(DEMO_TARGET, [alone, both])
    assert two.host.weights > one.host.weights


@pytest.fixture
def broken(large: Path, tmp_path: Path) -> Path:
    path = tmp_path / "broken.gguf"
    path.write_bytes(large.read_bytes()[:5000])
    return path


@pytest.mark.anyio
async def test_a_server_plans_a_model(large: Path, broken: Path, tmp_path: Path) -> None:
    desk, options = FitDesk(), engine_config(ServeSettings(ctx_size=512), large, "INFO")
    small, _ = await desk.plan(large, options)
    more, _ = await desk.plan(large, msgspec.structs.replace(options, n_ctx=4096))
    assert small.host.weights == more.host.weights > 0
    assert more.host.kv > small.host.kv > 0
    for path in (broken, tmp_path / "missing.gguf"):
        with pytest.raises(InvalidRequest) as refused:
            await desk.plan(path, engine_config(ServeSettings(), path, "INFO"))
        assert path.name in refused.value.message
        assert str(tmp_path) not in refused.value.message
