"""Models of LM Studio: PUBLISHER/MODEL/FILE.gguf."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from server.store.folders import Owner
from server.store.model import StoredModel
from server.store.readers.files import gguf_files, models_of_repo


def models(folder: Path) -> Iterator[StoredModel]:
    """The models as `PUBLISHER/MODEL:QUANT`."""
    repos: dict[str, dict[str, Path]] = defaultdict(dict)
    for name, path in gguf_files(folder).items():
        publisher, _, rest = name.partition("/")
        model, slash, file = rest.partition("/")
        if slash:
            repos[f"{publisher}/{model}"][file] = path
    for repo, files in repos.items():
        yield from models_of_repo(repo, files, Owner.LM_STUDIO)
