"""Asks the Hugging Face hub, or a server with the same routes, what a repository has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from server.store.errors import Refused, StoreError, Unreachable, WebError
from server.store.hub_cache import REVISION
from server.store.hub_settings import HubSettings
from server.store.progress import PullJob, PullStatus
from server.store.remote_file import RemoteFile
from server.store.web import Web, patiently

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_ETAG = re.compile(r"[A-Za-z0-9][\w.-]{0,200}")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository, in the hub's order. Sizes are None where the hub tells none."""

    commit: str
    sizes: dict[str, int | None]


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the hub: its content by its etag, and the way to it."""

    etag: str
    remote: RemoteFile


class Hub:
    """One repository of the hub."""

    def __init__(self, repo: str, settings: HubSettings, web: Web, job: PullJob) -> None:
        self._repo, self._settings, self._web, self._job = repo, settings, web, job
        token = settings.token
        self._secrets = {"Authorization": f"Bearer {token}"} if token else {}

    def listing(self, *, is_patient: bool = True) -> Listing:
        """The newest commit and its files. Raises `StoreError`; `Unreachable` if the hub is down.

        Without patience, only pauses that the hub asks for are waited out.
        """
        self._job.report(PullStatus.RESOLVING, self._repo)
        url = f"{self._settings.endpoint}/api/models/{quote(self._repo)}?blobs=true"
        return self._guarded(lambda: self._listing(url), is_patient=is_patient)

    def file(self, commit: str, name: str) -> HubFile:
        """A file's size and content's name. Raises `StoreError`."""
        place = f"{quote(self._repo)}/resolve/{commit}/{quote(name)}"
        url = f"{self._settings.endpoint}/{place}"
        return self._guarded(lambda: self._file(url, name))

    def explained(self, error: Refused) -> StoreError:
        """What the hub's refusal means, and what helps."""
        repo, endpoint = self._repo, self._settings.endpoint
        code = error.headers.get("x-error-code")
        if code == "GatedRepo":
            return StoreError(
                f"{repo} is gated: accept its terms at {endpoint}/{repo} and give a token of that "
                "account with --hf-token or HF_TOKEN"
            )
        if code == "RepoNotFound" or error.status == 404:
            return StoreError(
                f"there is no repository {repo} at {endpoint}, or it is private and needs "
                "--hf-token or HF_TOKEN"
            )
        if error.status in (401, 403):
            return StoreError(
                f"{endpoint} refuses access to {repo} (status {error.status}); check --hf-token "
                "or HF_TOKEN"
            )
        return self._unreachable(error)

    def _listing(self, url: str) -> Listing:
        text = self._web.read(url, secrets=self._secrets)
        try:
            return _read_listing(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._no_hub("its list of files can't be read") from None

    def _file(self, url: str, name: str) -> HubFile:
        headers = self._head(url)
        etag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/")
        etag = etag.strip('"')
        size = headers.get("x-linked-size") or headers.get("content-length") or ""
        if not _ETAG.fullmatch(etag) or etag.endswith(".incomplete"):
            raise self._no_hub(f"{name} has no usable ETag")
        remote = RemoteFile(
            name, url, int(size) if size.isdigit() else None, _digest(etag), self._secrets
        )
        return HubFile(etag, remote)

    def _head(self, url: str) -> Mapping[str, str]:
        """The headers of the hub's own answer, in small letters; the content may be elsewhere."""
        try:
            with self._web.open(
                url,
                method="HEAD",
                headers={"Accept-Encoding": "identity"},
                secrets=self._secrets,
                leaves_host=False,
            ) as answer:
                return {name.lower(): value for name, value in answer.headers.items()}
        except Refused as error:
            if error.status in (301, 302, 303, 307, 308):
                return error.headers
            raise

    def _guarded(self, action: Callable[[], _Result], *, is_patient: bool = True) -> _Result:
        try:
            return patiently(action, self._job, is_patient=is_patient, file=self._repo)
        except Refused as error:
            raise self.explained(error) from None
        except WebError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: WebError) -> Unreachable:
        return Unreachable(f"can't reach the hub {self._settings.endpoint} ({error})")

    def _no_hub(self, why: str) -> StoreError:
        return StoreError(f"{self._settings.endpoint} doesn't answer like a hub: {why}")


def _read_listing(content: Any) -> Listing:
    commit = content.get("sha") or REVISION
    if commit != REVISION and not _COMMIT.fullmatch(commit):
        raise ValueError
    files = content.get("siblings") or []
    return Listing(
        commit,
        {
            file["rfilename"]: file["size"] if isinstance(file.get("size"), int) else None
            for file in files
            if _is_inside(file["rfilename"])
        },
    )


def _is_inside(name: str) -> bool:
    """Whether a name stays in the folder of its repository."""
    steps = name.split("/")
    return not any(step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps)


def _digest(etag: str) -> str:
    """Large files have the SHA-256 of their content as etag, others the SHA-1 of git's blob."""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        return f"sha256:{etag}"
    return f"git-sha1:{etag}" if re.fullmatch(r"[0-9a-f]{40}", etag) else ""
