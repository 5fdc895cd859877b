"""Finds the files to serve by the settings; downloads them if the settings say so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from config import ServeSettings
from config.speculation import DRAFT_MODEL
from server.model.files import check_model
from server.startup import ModelFileError
from server.store.own_files import place_at, pull_url
from server.store.progress import (
    BeforeFetch,
    OnProgress,
    PullJob,
    PullProgress,
    fetch_all,
    ignore,
    never,
)
from server.store.progress_bar import progress_bar
from server.store.pull import PullOptions, pull, pull_options
from server.store.reference import HubReference, Reference, RegistryReference, parse_repo, parse_url
from server.store.web import Web

DEMO_MODEL = Path(str(resources.files("models"))) / "demo" / "demo-target.gguf"


@dataclass(frozen=True, slots=True)
class PullWatch:
    """Who hears of downloads besides the terminal, and can stop and end them."""

    report: OnProgress = ignore
    is_cancelled: Callable[[], bool] = never
    before_fetch: BeforeFetch = fetch_all


UNWATCHED = PullWatch()


def resolve_model(
    settings: ServeSettings,
    environ: Mapping[str, str] = os.environ,
    watch: PullWatch = UNWATCHED,
) -> Path:
    """The file to load, complete and readable. Raises `ModelFileError`."""
    path = settings.model
    if path is None or not path.exists():  # a file that is there needs no origin
        path = _from_origin(settings, environ, watch) or path or _demo_model()
    check_model(path)
    return path


def resolve_draft(
    settings: ServeSettings,
    environ: Mapping[str, str] = os.environ,
    watch: PullWatch = UNWATCHED,
) -> Path | None:
    """The draft model's file, found in the same way; None without a draft model."""
    if DRAFT_MODEL not in settings.spec_type:
        return None
    path = settings.spec_draft_model
    if settings.spec_draft_hf is not None:
        file = None if path is None else str(path)
        path = _pulled(_of_hub(settings.spec_draft_hf, file), _options(settings, environ), watch)
    assert path is not None, "the settings were checked"
    try:
        check_model(path)
    except ModelFileError as error:
        raise ModelFileError(f"draft model: {error}") from None
    return path


def _from_origin(
    settings: ServeSettings, environ: Mapping[str, str], watch: PullWatch
) -> Path | None:
    """The model out of a repository or from a URL, at the place that `--model` names, if it does;
    None if the settings name no origin."""
    target = settings.model
    if settings.model_url is not None:
        return _from_url(settings.model_url, target, _options(settings, environ), watch)
    if settings.hf_repo is not None:
        asked: Reference = _of_hub(settings.hf_repo, settings.hf_file)
    elif settings.docker_repo is not None:
        asked = RegistryReference("docker", settings.docker_repo)
    else:
        return None
    path = _pulled(asked, _options(settings, environ), watch)
    return path if target is None else place_at(path, target)


def _from_url(url: str, target: Path | None, options: PullOptions, watch: PullWatch) -> Path:
    """The model of an address, in the cache or at its own place."""
    asked = parse_url(url)
    if target is None:
        return _pulled(asked, options, watch)
    web = None if options.hub.is_offline else Web(options.hosts)
    with progress_bar() as shown:
        report = _both(shown, watch.report)
        job = PullJob(report, watch.is_cancelled, before_fetch=watch.before_fetch)
        return pull_url(asked, target.parent, web, job, name=target.name).path


def _of_hub(repo: str, file: str | None) -> HubReference:
    asked = parse_repo(repo)
    return asked if file is None else HubReference(asked.repo, file=file)


def _pulled(asked: Reference, options: PullOptions, watch: PullWatch) -> Path:
    with progress_bar() as shown:
        report = _both(shown, watch.report)
        return pull(
            asked,
            report,
            is_cancelled=watch.is_cancelled,
            options=options,
            before_fetch=watch.before_fetch,
        ).path


def _both(first: OnProgress, second: OnProgress) -> OnProgress:
    def report(progress: PullProgress) -> None:
        first(progress)
        second(progress)

    return report


def _options(settings: ServeSettings, environ: Mapping[str, str]) -> PullOptions:
    return pull_options(environ, token=settings.hf_token, is_offline=settings.offline)


def _demo_model() -> Path:
    if not DEMO_MODEL.is_file():
        raise ModelFileError(
            f"the embedded demo model {DEMO_MODEL} is missing; name a model with --model or "
            "--hf-repo"
        )
    return DEMO_MODEL
