"""Models in Docker's and Ollama's registries, which share one protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.store.errors import Refused, StoreError, WebError
from server.store.folders import Owner
from server.store.model import StoredModel, stored
from server.store.names import registry_name
from server.store.progress import PullJob, PullStatus
from server.store.remote_file import RemoteFile
from server.store.transfer import fetch, partial_of
from server.store.web import Web, patiently

_WORD = r"[A-Za-z0-9_][\w.-]*"
_NAME = re.compile(rf"(?:(?P<user>{_WORD})/)?(?P<name>{_WORD})(?::(?P<tag>{_WORD}))?")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)
_PROJECTOR = "mmproj-"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's address, and how its manifests name a model's files."""

    title: str
    address: str
    user: str
    """The user of names without a user."""
    model_media: re.Pattern[str]
    projector_media: re.Pattern[str]
    tokens: str | None = None
    """Where everybody gets a token, if the registry wants one."""


REGISTRIES: Mapping[str, Registry] = {
    "docker": Registry(
        title="Docker",
        address="https://registry-1.docker.io",
        user="ai",
        model_media=re.compile(r".*gguf(?!.*mmproj).*"),
        projector_media=re.compile(r".*mmproj.*"),
        tokens="https://auth.docker.io/token?service=registry.docker.io",
    ),
    "ollama": Registry(
        title="Ollama",
        address="https://registry.ollama.ai",
        user="library",
        model_media=re.compile(r"application/vnd\.ollama\.image\.model"),
        projector_media=re.compile(r"application/vnd\.ollama\.image\.projector"),
    ),
}


class RegistryPull:
    """Pulls one model of a registry into a folder of its own."""

    def __init__(self, kind: str, asked: str, registry: Registry, downloads: Path) -> None:
        """Raises `StoreError` for a name of another form."""
        match = _NAME.fullmatch(asked)
        if match is None:
            raise StoreError(
                f"a model of {registry.title} looks like name, user/name or name:tag, not {asked}"
            )
        self._kind, self._asked, self._registry = kind, asked, registry
        self._stem, self._tag = match["name"], match["tag"] or "latest"
        self._name = f"{match['user'] or registry.user}/{self._stem}"
        self._folder = downloads / kind / self._name.replace("/", "_", 1) / self._tag

    def downloaded(self) -> StoredModel:
        """The newest download of this name. Raises `StoreError` if there is none."""
        files = registry_files(self._folder)
        if not files:
            raise StoreError(
                f"offline (--offline or HF_HUB_OFFLINE is set), and {self._asked} has not been "
                "downloaded before"
            )
        return self._stored(files[0])

    def run(self, web: Web, job: PullJob, *, with_projector: bool) -> StoredModel:
        """Download what isn't there. Raises `StoreError`."""
        job.report(PullStatus.RESOLVING, self._asked)
        secrets, layers = self._guarded(lambda: patiently(lambda: self._manifest(web), job))
        digest = self._digest(layers, self._registry.model_media)
        if digest is None:
            raise StoreError(
                f"the registry of {self._registry.title} has no GGUF model {self._asked}"
            )
        place = self._folder / f"{self._stem}-{digest[:12]}.gguf"
        wanted = [(digest, place)]
        projector = self._digest(layers, self._registry.projector_media)
        if with_projector and projector:
            wanted.append((projector, self._folder / f"{_PROJECTOR}{projector[:12]}.gguf"))
        files = []
        for one, path in wanted:
            url = f"{self._registry.address}/v2/{self._name}/blobs/sha256:{one}"
            remote = RemoteFile(path.name, url, digest=f"sha256:{one}", secrets=secrets)
            files.append((remote, path))
        if not place.exists():
            job.begin([remote for remote, _ in files])
        for remote, path in files:
            fetch(remote, path, web, job)
        self._remove_others({path for _, path in wanted})
        return self._stored(place, digest)

    def _manifest(self, web: Web) -> tuple[Mapping[str, str], Sequence[Any]]:
        secrets: Mapping[str, str] = {}
        if self._registry.tokens is not None:
            url = f"{self._registry.tokens}&scope=repository:{self._name}:pull"
            secrets = {"Authorization": f"Bearer {json.loads(web.read(url))['token']}"}
        text = web.read(
            f"{self._registry.address}/v2/{self._name}/manifests/{self._tag}",
            headers={"Accept": _MANIFESTS},
            secrets=secrets,
        )
        return secrets, list(json.loads(text)["layers"])

    def _guarded(
        self, action: Callable[[], tuple[Mapping[str, str], Sequence[Any]]]
    ) -> tuple[Mapping[str, str], Sequence[Any]]:
        title = self._registry.title
        try:
            return action()
        except Refused as error:
            if error.status in (401, 403, 404):
                raise StoreError(f"the registry of {title} has no model {self._asked}") from None
            raise StoreError(f"can't get {self._asked} from {title}: {error}") from None
        except WebError as error:
            raise StoreError(f"can't get {self._asked} from {title}: {error}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StoreError(f"the registry of {title} has no GGUF model {self._asked}") from None

    def _digest(self, layers: Sequence[Any], media: re.Pattern[str]) -> str | None:
        for layer in layers:
            with suppress(KeyError, TypeError, AttributeError):
                found = _DIGEST.fullmatch(layer["digest"])
                if found and media.fullmatch(layer["mediaType"]):
                    return found[1]
        return None

    def _remove_others(self, kept: set[Path]) -> None:
        """Remove earlier versions of the tag, and what pulls of them have left."""
        kept_partials = {partial_of(path) for path in kept}
        for path in self._folder.iterdir():
            is_ours = path.suffix == ".gguf" or path.name.endswith(".incomplete")
            if is_ours and path not in kept | kept_partials:
                with suppress(OSError):
                    path.unlink()

    def _stored(self, path: Path, digest: str = "") -> StoredModel:
        return stored(
            registry_name(self._kind, self._folder.parent.name, self._tag),
            [path],
            Owner.LLAMAPACK,
            digest=f"sha256:{digest}" if digest else "",
            projector=registry_projector(path.parent),
        )


def registry_files(folder: Path) -> list[Path]:
    """The models in the folder of a tag, the newest first."""
    files = [path for path in folder.glob("*.gguf") if not path.name.startswith(_PROJECTOR)]
    return sorted(files, key=lambda path: -path.stat().st_mtime)


def registry_projector(folder: Path) -> Path | None:
    """The projector in the folder of a tag."""
    return next(iter(sorted(folder.glob(f"{_PROJECTOR}*.gguf"))), None)
