"""What a model of several takes before its first load: its draft model counts too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config import ServeSettings
from server.assembly import pooled_engine
from server.assembly.observation import Observation
from server.assembly.pooled_engine import PooledEngines
from server.context import SharedContext
from server.fit.errors import FitError
from server.observability.metrics import ServerMetrics
from server.pool.entries import ModelEntry
from server.pool.memory import MemoryUse
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

TARGET = DEMO_TARGET.stat().st_size
DRAFT = DEMO_DRAFT.stat().st_size


def estimated(**settings: object) -> MemoryUse:
    metrics = ServerMetrics("")
    shared = SharedContext(settings=ServeSettings(), metrics=metrics)
    maker = PooledEngines(shared, Observation(metrics), are_several=True)
    values = {"model": DEMO_TARGET, "ctx_size": 2048, **settings}
    entry = ModelEntry(name="m", settings=ServeSettings(**values))  # type: ignore[arg-type]
    return asyncio.run(maker.estimate(entry))


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
