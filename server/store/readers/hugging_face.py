"""Models in the cache of Hugging Face's tools, which llama.cpp uses too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from server.store.folders import Owner
from server.store.hub_cache import RepoCache, cached_repos
from server.store.model import StoredModel
from server.store.readers.files import models_of_repo


def models(cache: Path, owner: Owner = Owner.HUGGING_FACE) -> Iterator[StoredModel]:
    """The models of all repositories, as `USER/REPO:QUANT`."""
    for repo in cached_repos(cache):
        yield from _models(repo, owner)


def _models(repo: RepoCache, owner: Owner) -> Iterator[StoredModel]:
    """The models of all commits; a name stands for the newest commit that has it whole."""
    seen: set[str] = set()
    for snapshot in repo.snapshots():
        for model in models_of_repo(repo.repo, repo.files(snapshot), owner):
            if model.name not in seen:
                seen.add(model.name)
                yield model
