"""Pulls a model: what is missing is downloaded, what is there is used."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.store.errors import Refused, StoreError, Unreachable
from server.store.folders import Folders, Owner, folders_of
from server.store.hosts import PullHosts
from server.store.hub import Hub, HubFile, Listing
from server.store.hub_cache import RepoCache
from server.store.hub_settings import HubSettings, hub_settings
from server.store.model import StoredModel
from server.store.own_files import import_file, pull_url, url_folder
from server.store.progress import BeforeFetch, OnProgress, PullJob, fetch_all, ignore, never
from server.store.quantization import choose, is_model, offer, parts, projector
from server.store.readers.files import model_of, models_of_repo
from server.store.reference import (
    FileReference,
    HubReference,
    Reference,
    RegistryReference,
    UrlReference,
    parse_reference,
)
from server.store.registry import REGISTRIES, Registry, RegistryPull
from server.store.transfer import check_space, fetch, partial_of
from server.store.web import Web

logger = logging.getLogger("llamapack")


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Where a pull may look and where it puts what it finds."""

    folders: Folders
    hub: HubSettings
    hosts: PullHosts = field(default_factory=PullHosts)
    with_projector: bool = False
    """Whether the file is pulled too that lets the model see or hear."""
    takes_files: bool = True
    """Whether a file of this machine may be named. It must not, where others ask."""
    registries: Mapping[str, Registry] = field(default_factory=lambda: REGISTRIES)
    sleep: Callable[[float], None] = time.sleep


def pull_options(
    environ: Mapping[str, str] = os.environ,
    *,
    token: str | None = None,
    is_offline: bool = False,
    with_projector: bool = False,
) -> PullOptions:
    """The options of this user, for a pull by a command. Raises `StoreError`."""
    return PullOptions(
        folders_of(environ),
        hub_settings(environ, token=token, is_offline=is_offline),
        with_projector=with_projector,
    )


def pull(
    reference: str | Reference,
    on_progress: OnProgress = ignore,
    *,
    is_cancelled: Callable[[], bool] = never,
    options: PullOptions | None = None,
    before_fetch: BeforeFetch = fetch_all,
) -> StoredModel:
    """The model, after downloading what isn't there. It blocks; `on_progress` is called meanwhile.

    A model shows up when all its files are complete and checked, whatever ends the pull. The next
    pull goes on where this one stopped. Raises `StoreError`.
    """
    options = options or pull_options()
    asked = parse_reference(reference) if isinstance(reference, str) else reference
    job = PullJob(on_progress, is_cancelled, options.sleep, before_fetch)
    web = Web(options.hosts)
    check_allowed(asked, options)
    match asked:
        case HubReference():
            return _HubPull(asked, options, web, job).run()
        case UrlReference():
            folder = url_folder(options.folders.downloads, asked.url)
            return pull_url(asked, folder, None if options.hub.is_offline else web, job)
        case RegistryReference():
            return _pull_of_registry(asked, options, web, job)
        case FileReference():
            return import_file(asked.path, options.folders)


def check_allowed(asked: Reference, options: PullOptions) -> None:
    """Raise `HostNotAllowed`, or `StoreError` for a file, if nobody may pull this."""
    match asked:
        case HubReference():
            address = options.hub.endpoint
        case UrlReference():
            address = asked.url
        case RegistryReference():
            address = options.registries[asked.registry].address
        case FileReference():
            if not options.takes_files:
                raise StoreError(f"{asked} is a file; a pull takes a repository or an address")
            return
    Web(options.hosts).check(address)


def _pull_of_registry(
    asked: RegistryReference, options: PullOptions, web: Web, job: PullJob
) -> StoredModel:
    one = RegistryPull(
        asked.registry,
        asked.name,
        options.registries[asked.registry],
        options.folders.downloads,
    )
    if options.hub.is_offline:
        return one.downloaded()
    return one.run(web, job, with_projector=options.with_projector)


class _HubPull:
    """One pull from the hub, or from the cache if the hub is down or must not be asked."""

    def __init__(self, asked: HubReference, options: PullOptions, web: Web, job: PullJob) -> None:
        self._asked, self._options, self._web, self._job = asked, options, web, job
        self._cache = RepoCache(options.hub.cache, asked.repo)
        self._hub = Hub(asked.repo, options.hub, web, job)

    def run(self) -> StoredModel:
        """Raises `StoreError`."""
        if self._options.hub.is_offline:
            return self._cached("offline (--offline or HF_HUB_OFFLINE is set)")
        try:
            listing = self._hub.listing(is_patient=not self._cache.snapshots())
        except Unreachable as error:
            model = self._cached(str(error))
            logger.warning("%s; using the files downloaded before", error)
            return model
        return self._pulled(listing)

    def _pulled(self, listing: Listing) -> StoredModel:
        names = self._wanted(listing.sizes, self._asked.repo)
        missing = [name for name in names if not self._is_cached(listing.commit, name)]
        files = {name: self._hub.file(listing.commit, name) for name in names if missing}
        self._check_space([files[name] for name in missing])
        if not all(self._cache.blob(files[name].etag).exists() for name in missing):
            self._job.begin([file.remote for file in files.values()])
        for name in missing:
            self._fetch(files[name])
        for name in reversed(missing):  # the first part last: then the model is there
            self._cache.link(listing.commit, name, files[name].etag)
        self._cache.set_commit(listing.commit)
        return self._stored(listing.commit, names[0])

    def _wanted(self, sizes: Mapping[str, int | None], place: str) -> list[str]:
        """All files to pull, the model's first file first."""
        chosen = self._chosen(sizes, place)
        names = parts(chosen, sizes, place)
        beside = projector(chosen, sizes) if self._options.with_projector else None
        return names if beside is None or beside in names else [*names, beside]

    def _chosen(self, sizes: Mapping[str, int | None], place: str) -> str:
        file = self._asked.file
        if file is None:
            return choose(sizes, self._asked.quant, place)
        if file not in sizes:
            models = [name for name in sizes if is_model(name)]
            raise StoreError(f"there is no file {file} in {place}; {offer(models, sizes, place)}")
        return file

    def _is_cached(self, commit: str, name: str) -> bool:
        return (self._cache.folder / "snapshots" / commit / name).is_file()

    def _check_space(self, files: Sequence[HubFile]) -> None:
        """Look before the first byte whether all files fit, with what is there of them."""
        missing = 0
        for file in files:
            blob = self._cache.blob(file.etag)
            if file.remote.size is not None and not blob.exists():
                missing += max(0, file.remote.size - _size_of(partial_of(blob)))
        check_space(self._cache.folder, missing)

    def _fetch(self, file: HubFile) -> None:
        try:
            fetch(
                file.remote,
                self._cache.blob(file.etag),
                self._web,
                self._job,
                lock=self._cache.lock(file.etag),
            )
        except Refused as error:
            if error.is_temporary:
                raise
            raise self._hub.explained(error) from None

    def _cached(self, why: str) -> StoredModel:
        """The model out of the newest commit that has it."""
        snapshots = self._cache.snapshots()
        if not snapshots:
            raise StoreError(f"{why}, and {self._asked.repo} has not been downloaded before")
        place = f"the downloaded part of {self._asked.repo}"
        problem: StoreError | None = None
        for snapshot in snapshots:
            files = self._cache.files(snapshot)
            sizes: dict[str, int | None] = {name: _size_of(path) for name, path in files.items()}
            try:
                return self._stored(snapshot.name, self._wanted(sizes, place)[0])
            except StoreError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def _stored(self, commit: str, name: str) -> StoredModel:
        files = self._cache.files(self._cache.folder / "snapshots" / commit)
        models = list(models_of_repo(self._cache.repo, files, Owner.HUGGING_FACE))
        found = next((model for model in models if model.path == files.get(name)), None)
        if found is not None:
            return found
        model = model_of(f"{self._cache.repo}:{name}", name, files, Owner.HUGGING_FACE)
        if model is None:
            raise StoreError(f"{name} of {self._cache.repo} is gone from {self._cache.folder}")
        return model


def _size_of(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
