"""A hub on this machine, and a user with an empty home."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.store.model import StoredModel
from server.store.progress import BeforeFetch, PullProgress, fetch_all
from server.store.pull import PullOptions, pull, pull_options
from tests.support.local_hub import LocalHub, environment, local_hub, no_sleep

Pull = Callable[..., StoredModel]


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with local_hub() as hub:
        yield hub


@pytest.fixture
def environ(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    return environment(hub, tmp_path)


@pytest.fixture
def reports() -> list[PullProgress]:
    return []


@pytest.fixture
def options(environ: dict[str, str]) -> PullOptions:
    return dataclasses.replace(pull_options(environ), sleep=no_sleep)


@pytest.fixture
def pulled(environ: dict[str, str], reports: list[PullProgress]) -> Pull:
    """Pulls as this user; flags of the command and changed options are keyword arguments."""

    def run(
        reference: str,
        *,
        token: str | None = None,
        offline: bool = False,
        projector: bool = False,
        before_fetch: BeforeFetch = fetch_all,
        **changes: object,
    ) -> StoredModel:
        made = pull_options(environ, token=token, is_offline=offline, with_projector=projector)
        changed = dataclasses.replace(made, sleep=no_sleep, **changes)  # type: ignore[arg-type]
        return pull(reference, reports.append, options=changed, before_fetch=before_fetch)

    return run
