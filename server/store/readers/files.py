"""What all readers share: the files of a folder, and the models among them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from server.store.folders import Owner
from server.store.hub_cache import etag_of
from server.store.model import StoredModel, stored
from server.store.names import repo_names
from server.store.quantization import all_parts, is_model, projector

_MOST_FILES = 100_000
"""Files of a folder that are looked at; a link to a whole disk must not take for ever."""


def gguf_files(folder: Path) -> dict[str, Path]:
    """The GGUF files below a folder, by their paths in it."""
    found: dict[str, Path] = {}
    with suppress(OSError):
        for path in itertools.islice(folder.rglob("*"), _MOST_FILES):
            if path.suffix.lower() == ".gguf" and path.is_file():
                found[path.relative_to(folder).as_posix()] = path
    return found


def models_of_repo(repo: str, files: Mapping[str, Path], owner: Owner) -> Iterator[StoredModel]:
    """The complete models among a repository's files. Without `repo`, files name themselves."""
    names = repo_names(repo, [file for file in files if is_model(file)])
    for file, name in names.items():
        model = model_of(name, file, files, owner)
        if model is not None:
            yield model


def model_of(name: str, file: str, files: Mapping[str, Path], owner: Owner) -> StoredModel | None:
    """The model whose first file is this one; None if a part is missing."""
    parts = all_parts(file)
    if any(part not in files for part in parts):
        return None
    beside = projector(file, files)
    etag = etag_of(files[file])
    with suppress(OSError):
        return stored(
            name,
            [files[part] for part in parts],
            owner,
            digest=f"sha256:{etag}" if re.fullmatch(r"[0-9a-f]{64}", etag) else "",
            projector=None if beside is None else files[beside],
        )
    return None
