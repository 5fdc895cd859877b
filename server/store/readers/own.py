"""Our own models: imported under a name, or downloaded by URL and out of registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.store.folders import Owner
from server.store.model import StoredModel, stored
from server.store.names import registry_name
from server.store.quantization import is_model, stem_of
from server.store.readers.files import gguf_files, model_of
from server.store.registry import REGISTRIES, registry_files, registry_projector


def imported(folder: Path) -> Iterator[StoredModel]:
    """The models that were imported, by the names that their users gave."""
    files = gguf_files(folder)
    for file in files:
        if is_model(file):
            model = model_of(stem_of(file), file, files, Owner.LLAMAPACK)
            if model is not None:
                yield model


def downloaded(folder: Path) -> Iterator[StoredModel]:
    """The models that were downloaded by URL, by their files' names, and those of registries."""
    with suppress(OSError):
        for child in sorted(folder.iterdir()):
            if child.name in REGISTRIES:
                yield from _of_registry(child)
            elif child.is_dir():
                yield from imported(child)


def _of_registry(folder: Path) -> Iterator[StoredModel]:
    for tag in sorted(folder.glob("*/*")):
        with suppress(OSError):
            if files := registry_files(tag):
                yield stored(
                    registry_name(folder.name, tag.parent.name, tag.name),
                    files[:1],
                    Owner.LLAMAPACK,
                    projector=registry_projector(tag),
                )
