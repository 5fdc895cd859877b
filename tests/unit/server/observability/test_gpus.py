"""GPUs in the metrics: what NVML tells, with a module that plays its bindings."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import ServeSettings
from server.app import create_app
from server.assembly.observation import open_observation
from server.observability import gpus
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import render_metrics
from server.observability.gpus import Gpu, NoGpus, NvmlGpus, find_gpus, is_visible
from server.observability.metrics import ServerMetrics
from tests.support.fake_server import make_server

pytestmark = pytest.mark.anyio

GIB = 1 << 30


class NVMLError(Exception):
    """What the driver can't do."""


@dataclass
class Card:
    """A GPU of the fake driver."""

    name: str | bytes = "NVIDIA H100 80GB HBM3"
    uuid: str | bytes = "GPU-aa"
    used: int = 60 * GIB
    total: int = 80 * GIB
    busy: int = 87
    fails: set[str] = field(default_factory=set)
    """The questions that the driver doesn't answer."""


class FakeNvml:
    """Plays the module `pynvml`."""

    NVMLError = NVMLError

    def __init__(self, *cards: Card) -> None:
        self.cards = cards
        self.init_fails = False
        self.answers = threading.Event()
        self.answers.set()
        self.num_asked = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init_fails:
            raise NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self.num_asked += 1
        self.answers.wait(30)
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        return self._if_it_answers(self.cards[index], "handle")

    def nvmlDeviceGetName(self, card: Card) -> str | bytes:  # noqa: N802
        return self._if_it_answers(card, "name").name

    def nvmlDeviceGetUUID(self, card: Card) -> str | bytes:  # noqa: N802
        return card.uuid

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> Any:  # noqa: N802
        self._if_it_answers(card, "memory")
        return SimpleNamespace(used=card.used, total=card.total, free=card.total - card.used)

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> Any:  # noqa: N802
        self._if_it_answers(card, "rates")
        return SimpleNamespace(gpu=card.busy, memory=1)

    def _if_it_answers(self, card: Card, question: str) -> Card:
        if question in card.fails:
            raise NVMLError(f"{question}: not supported")
        return card


def samples(*found: Gpu) -> dict[tuple[str, str, str], float]:
    """What the metrics page says of GPUs: by name, index and device."""
    page, _ = render_metrics(ServerMetrics("m"), EngineSnapshot(gpus=found))
    return {
        (sample.name, sample.labels["gpu"], sample.labels["name"]): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name.startswith("llamapack_gpu")
    }


async def test_memory_and_utilization_by_device() -> None:
    other = Card(name=b"NVIDIA L4", uuid=b"GPU-bb", used=GIB, total=24 * GIB, busy=0)
    found = await NvmlGpus(FakeNvml(Card(), other), {}).read()
    assert samples(*found) == {
        ("llamapack_gpu_memory_used_bytes", "0", "NVIDIA H100 80GB HBM3"): 60 * GIB,
        ("llamapack_gpu_memory_total_bytes", "0", "NVIDIA H100 80GB HBM3"): 80 * GIB,
        ("llamapack_gpu_utilization_ratio", "0", "NVIDIA H100 80GB HBM3"): 0.87,
        ("llamapack_gpu_memory_used_bytes", "1", "NVIDIA L4"): GIB,
        ("llamapack_gpu_memory_total_bytes", "1", "NVIDIA L4"): 24 * GIB,
        ("llamapack_gpu_utilization_ratio", "1", "NVIDIA L4"): 0,
    }


async def test_what_the_driver_does_not_tell_is_left_out() -> None:
    shared = Card(name="GB10", fails={"memory"})
    part = Card(name="MIG", fails={"rates"})
    gone = Card(fails={"handle"})
    nameless = Card(fails={"name", "memory", "rates"})
    found = await NvmlGpus(FakeNvml(shared, part, gone, nameless), {}).read()
    assert set(samples(*found)) == {
        ("llamapack_gpu_utilization_ratio", "0", "GB10"),
        ("llamapack_gpu_memory_used_bytes", "1", "MIG"),
        ("llamapack_gpu_memory_total_bytes", "1", "MIG"),
    }


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("1", [1]),
        ("2, 0", [0, 2]),
        ("GPU-aa", [0]),
        ("GPU-b,2", [1, 2]),
        ("", []),
        ("-1", []),
        ("MIG-GPU-aa/1/0", [0, 1, 2]),
    ],
)
def test_gpus_that_cuda_may_not_use_are_hidden(visible: str | None, expected: list[int]) -> None:
    cards = [Gpu(i, "g", f"GPU-{c}{c}", 1, 2, 0.0) for i, c in enumerate("abc")]
    assert [gpu.index for gpu in cards if is_visible(gpu, visible)] == expected


async def test_a_driver_that_hangs_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "READ_SECONDS", 0.02)
    nvml = FakeNvml(Card())
    nvml.answers.clear()
    source = NvmlGpus(nvml, {})
    assert [await source.read(), await source.read()] == [(), ()]
    assert nvml.num_asked == 1
    nvml.answers.set()
    monkeypatch.setattr(gpus, "READ_SECONDS", 30.0)
    assert len(await source.read()) == 1


async def test_bindings_that_break_hide_nothing_else() -> None:
    nvml = FakeNvml(Card(used="much"))  # type: ignore[arg-type]
    assert await NvmlGpus(nvml, {}).read() == ()
    nvml.cards = (Card(),)
    assert len(await NvmlGpus(nvml, {}).read()) == 1


@pytest.mark.parametrize("is_installed", [True, False])
async def test_without_bindings_or_driver_there_is_nothing(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = FakeNvml(Card())
    nvml.init_fails = True
    monkeypatch.setitem(sys.modules, "pynvml", nvml if is_installed else None)
    assert isinstance(find_gpus(), NoGpus)
    assert samples(*await find_gpus().read()) == {}


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        (ServeSettings(metrics=True), True),
        (ServeSettings(metrics=True, device=("CUDA0",)), True),
        (ServeSettings(metrics=True, device=("none",)), False),
        (ServeSettings(), False),
    ],
)
def test_only_a_server_that_may_use_gpus_looks_for_them(
    settings: ServeSettings, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Card()))
    observation = open_observation(settings, "m")
    assert isinstance(observation.metrics.gpus, NvmlGpus) is shows


async def test_the_page_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(ServeSettings(metrics=True))
    server.context.metrics.gpus = NvmlGpus(FakeNvml(Card()), {})
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        page = (await client.get("/metrics")).text
        server.context.metrics.gpus = NoGpus()
        assert "llamapack_gpu" not in (await client.get("/metrics")).text
    assert f'llamapack_gpu_memory_total_bytes{{gpu="0",model="{server.context.model_name}"' in page
