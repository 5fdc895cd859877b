"""Models in Docker's registry: `[user/]name[:tag]`, by default of the user `ai`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.model.download import cache_folder, download, open_url, reason
from server.startup import ModelFileError

REGISTRY = "https://registry-1.docker.io"
TOKENS = "https://auth.docker.io/token?service=registry.docker.io"

_NAME = re.compile(r"(?:(?P<user>[\w.-]+)/)?(?P<name>[\w.-]+)(?::(?P<tag>[\w.-]+))?")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)


def fetch(
    repo: str,
    *,
    offline: bool,
    environ: Mapping[str, str],
    registry: str = REGISTRY,
    tokens: str = TOKENS,
) -> Path:
    """The local path of the model, downloaded unless it was before. Raises ModelFileError.

    The registry says under which digest the model is. Without the registry, the newest download
    of that name is taken.
    """
    match = _NAME.fullmatch(repo)
    if match is None:
        raise ModelFileError(f"a Docker model looks like name, user/name or name:tag, not {repo}")
    name, tag = f"{match['user'] or 'ai'}/{match['name']}", match["tag"] or "latest"
    folder = cache_folder(environ) / "docker" / name.replace("/", "_") / tag
    if offline:
        return _downloaded(folder, repo)
    try:
        token = _json(f"{tokens}&scope=repository:{name}:pull", {})["token"]
        headers = {"Authorization": f"Bearer {token}"}
        manifest = _json(f"{registry}/v2/{name}/manifests/{tag}", {**headers, "Accept": _MANIFESTS})
        digest = _digest_of_model(manifest)
    except OSError as error:
        raise ModelFileError(f"can't get the Docker model {repo}: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelFileError(f"the Docker registry has no GGUF model {repo}") from None
    return download(
        f"{registry}/v2/{name}/blobs/sha256:{digest}",
        folder / f"{match['name']}-{digest[:12]}.gguf",
        headers=headers,
        sha256=digest,
    )


def _downloaded(folder: Path, repo: str) -> Path:
    files = sorted(folder.glob("*.gguf"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise ModelFileError(f"--offline is set, and {repo} has not been downloaded before")
    return files[-1]


def _digest_of_model(manifest: Any) -> str:
    layer = next(one for one in (*manifest["layers"], {}) if "gguf" in one.get("mediaType", "gguf"))
    found = _DIGEST.fullmatch(layer["digest"])
    if found is None:
        raise ValueError
    return found[1]


def _json(url: str, headers: Mapping[str, str]) -> Any:
    with open_url(url, headers) as answer:
        return json.loads(answer.read())
