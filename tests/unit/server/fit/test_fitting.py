"""`--fit` on a machine with devices: llama.cpp's plan of the model on them has the last word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from config import load_settings
from protocol.footprint import DeviceMemory, Footprint, PartBytes
from server.engine.config import engine_config
from server.fit import fitting
from server.fit.budget import Budget
from server.fit.candidates import Candidate
from server.fit.errors import FitError
from server.fit.estimate import Estimator, LoadOptions
from server.fit.fitting import Fitted, Fitting
from server.model.gguf_header import GgufHeader
from server.model.inspection import Inspector

MIB = 1 << 20
NUM_BLOCKS = 10
BLOCK, OUTPUT, EMBEDDING = 100 * MIB, 50 * MIB, 40 * MIB
CELL = 10_000
COMPUTE = 60 * MIB
DRIVER = 30 * MIB
"""What the plan on a device takes more than the layers say."""


class Planner(Estimator):
    """Plans a model of equal layers: the last ones go to the devices, in equal parts."""

    def __init__(self, *free: int) -> None:
        super().__init__()
        self._devices = tuple(
            DeviceMemory(name=f"GPU{index}", description="", total=size, free=size)
            for index, size in enumerate(free)
        )
        self.planned: list[LoadOptions] = []

    def devices(self) -> tuple[DeviceMemory, ...]:
        return self._devices

    def estimate(self, path: Path, options: Sequence[LoadOptions]) -> list[Footprint]:
        self.planned += options
        return [self._footprint(one) for one in options]

    def _footprint(self, options: LoadOptions) -> Footprint:
        used = [] if options.devices == ("none",) or not options.n_gpu_layers else self._devices
        layers = min(options.n_gpu_layers, NUM_BLOCKS + 1) if used else 0
        kv = CELL * options.n_ctx // (1 if options.cache_type_k == "f16" else 2)
        blocks = max(layers - 1, 0)
        away = PartBytes(
            weights=blocks * BLOCK + (OUTPUT if layers else 0), kv=kv * blocks // NUM_BLOCKS
        )
        host = PartBytes(
            weights=EMBEDDING + NUM_BLOCKS * BLOCK + OUTPUT - away.weights,
            kv=kv - away.kv,
            compute=0 if used else COMPUTE,
        )
        return Footprint(
            host=host,
            devices={
                one.name: PartBytes(
                    weights=away.weights // len(used),
                    kv=away.kv // len(used),
                    compute=COMPUTE + DRIVER,
                )
                for one in used
            },
            n_ctx=options.n_ctx,
            n_ctx_slot=options.n_ctx // options.n_slots,
            n_slots=options.n_slots,
            n_layers=NUM_BLOCKS + 1,
            n_ctx_train=32_768,
            flash_attn="on",
        )


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without a file, on a host with 8 GiB."""
    header = GgufHeader(3, {"general.architecture": "a", "a.block_count": NUM_BLOCKS}, 0, 0)
    tensors = {f"blk.{index}.attn_q.weight": BLOCK for index in range(NUM_BLOCKS)}
    tensors |= {"token_embd.weight": EMBEDDING, "output.weight": OUTPUT}
    found = Candidate("m", "", sum(tensors.values()), Path("m"), header, tensors)
    monkeypatch.setattr(fitting, "local_model", lambda path, inspector: found)
    monkeypatch.setattr(
        fitting,
        "this_machine",
        lambda devices: Budget(8 << 30, tuple(one.free for one in devices)),
    )


def fitted(planner: Planner, *flags: str) -> Fitted:
    settings = load_settings(["--fit", "on", *flags], {})
    return Fitting(planner, Inspector()).fitted(settings, Path("m"))


def fits(found: Fitted, *free: int, margin: int = 1024 * MIB) -> bool:
    sizes = [parts.total for parts in found.footprint.devices.values()]
    return all(size <= room - margin for size, room in zip(sizes, free, strict=True))


@pytest.mark.parametrize(
    ("flags", "is_open"),
    [
        (("-c", "4096"), True),
        (("-c", "4096", "-np", "-1"), True),
        (("-c", "4096", "-np", "4"), False),
        ((), False),
    ],
)
def test_a_given_context_is_shared_as_it_would_be_without_fitting(
    flags: tuple[str, ...], is_open: bool
) -> None:
    found = fitted(Planner(8 << 30), *flags)
    assert found.settings.parallel == 4
    config = engine_config(found.settings, Path("m"), "INFO", None)
    assert (config.kv_unified is None) is is_open
    assert ("4 slots and 4,096 f16 tokens fit" in found.lines[1]) is bool(flags)


def test_with_room_all_layers_are_on_the_device() -> None:
    found = fitted(Planner(8 << 30))
    assert found.settings.n_gpu_layers == NUM_BLOCKS + 1
    assert (found.settings.parallel, found.settings.ctx_size) == (4, 4 * 32_768)
    assert fits(found, 8 << 30)
    assert "--n-gpu-layers 11" in found.lines[0]


def test_layers_stay_on_the_host_until_the_plan_fits() -> None:
    planner = Planner((1024 + 700) * MIB)
    found = fitted(planner)
    assert 0 < found.settings.n_gpu_layers < NUM_BLOCKS + 1
    assert fits(found, (1024 + 700) * MIB)


def test_two_devices_share_the_layers() -> None:
    size = (1024 + 900) * MIB
    found = fitted(Planner(size, size))
    assert found.settings.n_gpu_layers == NUM_BLOCKS + 1
    assert fits(found, size, size)


def test_what_stays_free_can_be_said_for_each_device() -> None:
    found = fitted(Planner(3 << 30, 3 << 30), "--fit-target", "0,512", "-c", "4096")
    first, second = found.footprint.devices.values()
    assert first.total <= 3 << 30
    assert second.total <= (3 << 30) - 512 * MIB
    with pytest.raises(FitError, match="--fit-target has 3 values, and there are 2 devices"):
        fitted(Planner(3 << 30, 3 << 30), "--fit-target", "1,2,3")


def test_given_layers_stay_or_the_server_does_not_start() -> None:
    assert fitted(Planner(8 << 30), "-ngl", "4").settings.n_gpu_layers == 4
    with pytest.raises(FitError, match="more are needed"):
        fitted(Planner((1024 + 300) * MIB), "-ngl", "all", "-c", "4096")


@pytest.mark.parametrize("flags", [("-ngl", "0"), ("--device", "none")])
def test_devices_that_may_not_compute_are_not_counted(flags: tuple[str, ...]) -> None:
    planner = Planner(8 << 30)
    found = fitted(planner, *flags)
    assert not found.footprint.devices
    assert "n_gpu_layers" not in found.settings.model_fields_set or flags[0] == "-ngl"


def test_a_device_that_is_named_is_the_only_one() -> None:
    found = fitted(Planner(8 << 30), "--device", "GPU0")
    assert list(found.footprint.devices) == ["GPU0"]
