"""Stored models as models of a pool: those of `llamapack list`, under the same names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from config import ConfigError
from config.models import ModelTable
from server.startup import StartupError
from server.store.errors import StoreError
from server.store.folders import folders_of
from server.store.quantization import choose
from server.store.reference import HubReference, parse_repo
from server.store.stored_models import stored_models


def cached_models(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """The first files of our own models and of those in the Hugging Face cache, by name.

    Raises `ConfigError`.
    """
    try:
        models = stored_models(folders_of(environ))
    except StartupError as error:
        raise ConfigError(f"--models-cache: {error}") from None
    return {model.name: model.path for model in models if model.owner.is_ours}


def hidden_models(tables: Iterable[ModelTable], cached: Mapping[str, Path]) -> set[str]:
    """The names of stored models whose file or repository a table names that hides them."""
    given = [one for table in tables for one in table.given]
    files = {Path(str(one.value)) for one in given if one.field == "model"}
    repos = [str(one.value) for one in given if one.field == "hf_repo"]
    of_repos = {name for repo in repos for name in _of_repo(repo, cached)}
    return of_repos | {name for name, path in cached.items() if path in files}


def _of_repo(repo: str, cached: Mapping[str, Path]) -> set[str]:
    """The stored model that a reference means, if it is there."""
    try:
        asked = parse_repo(repo)
        files = {path.name: name for name, path in cached.items() if _is_of(asked, name)}
        sizes: dict[str, int | None] = dict.fromkeys(files)
        return {files[choose(sizes, asked.quant, asked.repo)]}
    except StoreError:
        return set()


def _is_of(asked: HubReference, name: str) -> bool:
    return name.startswith(f"{asked.repo}:")
