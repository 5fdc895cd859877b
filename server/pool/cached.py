"""Which downloaded model a table means that names a repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from config.models import ModelTable
from server.store.errors import StoreError
from server.store.quantization import choose
from server.store.reference import parse_repo


def repository_files(tables: Iterable[ModelTable], downloaded: Mapping[str, Path]) -> set[Path]:
    """The downloaded files of the tables' repositories; `downloaded` has files by model name."""
    repos = (one.value for table in tables for one in table.given if one.field == "hf_repo")
    return {path for repo in repos for path in _of_repo(str(repo), downloaded)}


def _of_repo(repo: str, downloaded: Mapping[str, Path]) -> set[Path]:
    """The file that a reference means, if it is there."""
    try:
        asked = parse_repo(repo)
        start = f"{asked.repo}:"
        files = {path.name: path for name, path in downloaded.items() if name.startswith(start)}
        sizes: dict[str, int | None] = dict.fromkeys(files)
        return {files[choose(sizes, asked.quant, asked.repo)]}
    except StoreError:
        return set()
