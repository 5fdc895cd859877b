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
from server.fit.errors import FitError
from server.observability.metrics import ServerMetrics
from server.pool.engines import Fetched, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.memory import MemoryUse
from tests.support.local_hub import LocalHub, environment, local_hub
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

TARGET = DEMO_TARGET.stat().st_size
DRAFT = DEMO_DRAFT.stat().st_size


def prepared(told: Callable[[Fetched], None], **settings: object) -> Coroutine[Any, Any, MemoryUse]:
    metrics = ServerMetrics("")
    shared = SharedContext(settings=ServeSettings(), metrics=metrics)
    maker = PooledEngines(shared, Observation(metrics), are_several=True)
    values = {"model": DEMO_TARGET, "ctx_size": 2048, **settings}
    entry = ModelEntry(name="m", settings=ServeSettings(**values))  # type: ignore[arg-type]
    return maker.prepare(entry, told)


def estimated(**settings: object) -> MemoryUse:
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
    from_hub = {"model": None, "hf_repo": "u/r"}
    found = asyncio.run(prepared(told.append, **from_hub))
    assert found.host == pytest.approx(estimated().host, rel=0.01)
    assert (told[0].completed, told[-1].total) == (0, TARGET)
    told.clear()
    assert asyncio.run(prepared(told.append, **from_hub)).host == pytest.approx(
        found.host, rel=0.01
    )
    assert (told, hub.downloads()) == ([], ["m-Q8_0.gguf"])


def test_a_model_that_the_hub_lacks_is_refused(hub: LocalHub) -> None:
    with pytest.raises(LoadFailed, match="u/none"):
        estimated(model=None, hf_repo="u/none")


def test_a_download_that_nobody_wants_any_more_stops(hub: LocalHub, tmp_path: Path) -> None:
    hub.piece_seconds = 0.01

    async def go() -> None:
        is_begun = asyncio.Event()
        work = asyncio.create_task(
            prepared(lambda fetched: is_begun.set(), model=None, hf_repo="u/r")
        )
        await is_begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(go())  # waits for the thread that downloads
    assert [path for path in tmp_path.rglob("*.gguf") if path.is_file()] == []
