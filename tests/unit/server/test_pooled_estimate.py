"""What a model of several takes before its first load: also what is downloaded, and drafts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from config import ServeSettings
from server.assembly import pooled_engine
from server.assembly.observation import Observation
from server.assembly.pooled_engine import PooledEngines
from server.context import SharedContext
from server.fit import heads
from server.fit.errors import FitError
from server.observability.metrics import ServerMetrics
from server.pool.engines import Fetched, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.memory import MemoryUse
from tests.support import tiny_models
from tests.support.live import wait_for
from tests.support.local_hub import LocalHub, environment, local_hub
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

TARGET = DEMO_TARGET.stat().st_size
DRAFT = DEMO_DRAFT.stat().st_size
HEAD = "bytes=0-268435455"
"""The range of a question for a header, which is not read to its end."""


def prepared(
    told: Callable[[Fetched], None],
    check: Callable[[MemoryUse], None] = lambda need: None,
    **settings: Any,
) -> Coroutine[Any, Any, MemoryUse]:
    metrics = ServerMetrics("")
    shared = SharedContext(settings=ServeSettings(), metrics=metrics)
    maker = PooledEngines(shared, Observation(metrics), are_several=True)
    values = {"model": DEMO_TARGET, "ctx_size": 2048, **settings}
    entry = ModelEntry(name="m", settings=ServeSettings(**values))
    return maker.prepare(entry, told, check)


def estimated(**settings: Any) -> MemoryUse:
    return asyncio.run(prepared(lambda fetched: None, **settings))


def test_the_draft_model_and_its_cells_count() -> None:
    drafting = {"spec_draft_model": DEMO_DRAFT, "spec_type": ("draft-simple",)}
    alone, beside = estimated(), estimated(**drafting)
    assert beside.host >= alone.host + DRAFT
    longer = estimated(ctx_size=8192), estimated(ctx_size=8192, **drafting)
    assert longer[1].host - longer[0].host > beside.host - alone.host


@pytest.mark.parametrize(("spec_type", "size"), [(("draft-simple",), TARGET + DRAFT), ((), TARGET)])
def test_of_models_that_can_t_be_planned_the_files_count(
    monkeypatch: pytest.MonkeyPatch, spec_type: tuple[str, ...], size: int
) -> None:
    def fail(path: Path, options: object) -> None:
        raise FitError("no plan")

    monkeypatch.setattr(pooled_engine, "estimate", fail)
    found = estimated(spec_draft_model=DEMO_DRAFT, spec_type=spec_type)
    assert found == MemoryUse(size)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with local_hub() as hub:
        hub.repos["u/r"] = {"m-Q8_0.gguf": DEMO_TARGET.read_bytes()}
        for name, value in environment(hub, tmp_path).items():
            monkeypatch.setenv(name, value)
        yield hub


def test_a_model_of_the_hub_counts_as_its_file_does(hub: LocalHub) -> None:
    told: list[Fetched] = []
    from_hub: dict[str, Any] = {"model": None, "hf_repo": "u/r"}
    found = asyncio.run(prepared(told.append, **from_hub))
    assert found.host == pytest.approx(estimated().host, rel=0.01)
    assert (told[0].completed, told[-1].total) == (0, TARGET)
    told.clear()
    assert asyncio.run(prepared(told.append, **from_hub)).host == pytest.approx(
        found.host, rel=0.01
    )
    assert (told, hub.ranges()) == ([], [HEAD, None])


def too_large(need: MemoryUse) -> None:
    raise LoadFailed(f"it needs {need.host}")


@pytest.mark.parametrize("origin", ["repository", "file", "place", "address"])
def test_of_a_model_that_is_too_large_only_the_header_is_read(
    hub: LocalHub, tmp_path: Path, origin: str
) -> None:
    """Wherever it comes from. It is refused for what llama.cpp plans for the whole file."""
    place = tmp_path / "here.gguf"
    origins: dict[str, dict[str, Any]] = {
        "repository": {"model": None, "hf_repo": "u/r:q8_0"},
        "file": {"model": None, "hf_repo": "u/r", "hf_file": "m-Q8_0.gguf"},
        "place": {"model": place, "hf_repo": "u/r"},
        "address": {"model": None, "model_url": f"{hub.content_url}/content/u/r/m-Q8_0.gguf"},
    }
    settings = origins[origin]
    told: list[Fetched] = []
    with pytest.raises(LoadFailed) as caught:
        asyncio.run(prepared(told.append, too_large, **settings))
    need = int(str(caught.value).removeprefix("it needs "))
    assert need == pytest.approx(estimated().host, rel=0.01)
    assert (told, hub.ranges(), place.exists()) == ([], [HEAD], False)
    assert [path for path in tmp_path.rglob("*") if path.stat().st_size > 100_000] == []
    found = asyncio.run(prepared(told.append, **settings))
    assert found.host == pytest.approx(need, rel=0.01)
    asyncio.run(prepared(told.append, too_large, **settings))  # it is here now


def test_all_parts_of_a_split_model_count(hub: LocalHub, tmp_path: Path) -> None:
    tiny_models.single_layer(tmp_path / "m-F32.gguf", split=4)
    parts = sorted(tmp_path.glob("m-F32-*.gguf"))
    hub.repos["u/r"] = {path.name: path.read_bytes() for path in parts}
    assert len(parts) == 3
    whole = estimated(model=parts[0])
    needs: list[MemoryUse] = []
    found = asyncio.run(prepared(lambda _: None, needs.append, model=None, hf_repo="u/r"))
    assert [need.host for need in needs] == [pytest.approx(whole.host, rel=0.01)]
    assert found.host == pytest.approx(whole.host, rel=0.01)


@pytest.mark.parametrize("content", [b"no model" * 300_000, b"GGUF" + bytes(3_000_000), b"GGUF"])
def test_what_tells_no_memory_before_the_download_is_downloaded(
    hub: LocalHub, content: bytes
) -> None:
    hub.repos["u/r"] = {"m-Q8_0.gguf": content}
    with pytest.raises(LoadFailed, match=r"GGUF|incomplete|damaged|version"):
        asyncio.run(prepared(lambda _: None, too_large, model=None, hf_repo="u/r"))
    assert len(hub.ranges()) == 2


def test_without_a_place_for_headers_the_model_is_downloaded(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(prefix: str) -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(heads, "TemporaryDirectory", fail)
    found = asyncio.run(prepared(lambda _: None, too_large, model=None, hf_repo="u/r"))
    assert found.host == pytest.approx(estimated().host, rel=0.01)
    assert hub.ranges() == [None]


def test_a_model_that_the_hub_lacks_is_refused(hub: LocalHub) -> None:
    with pytest.raises(LoadFailed, match="u/none"):
        estimated(model=None, hf_repo="u/none")


@pytest.mark.parametrize("is_at_header", [True, False])
def test_a_download_that_nobody_wants_any_more_stops(
    hub: LocalHub, tmp_path: Path, is_at_header: bool
) -> None:
    hub.piece_seconds = 0.01 if is_at_header else 0.0

    def slow_down(need: MemoryUse) -> None:
        hub.piece_seconds = 0.01

    async def go() -> None:
        work = asyncio.create_task(
            prepared(lambda fetched: None, slow_down, model=None, hf_repo="u/r")
        )
        begun = [HEAD] if is_at_header else [HEAD, None]
        assert await asyncio.to_thread(wait_for, lambda: hub.ranges() == begun, 30.0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(go())  # waits for the thread that downloads
    assert [path for path in tmp_path.rglob("*.gguf") if path.is_file()] == []
    assert len(hub.ranges()) == 2 - is_at_header
