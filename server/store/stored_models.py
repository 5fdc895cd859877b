"""All models on this machine, read where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server.store.folders import Folders
from server.store.model import StoredModel
from server.store.names import unique
from server.store.readers import hugging_face, llama_cpp, lm_studio, ollama, own


def stored_models(folders: Folders) -> list[StoredModel]:
    """The models whose files are all there, by owner and name.

    A folder that is missing or can't be read has no models.
    """
    return unique(_all(folders))


def _all(folders: Folders) -> Iterator[StoredModel]:
    yield from _by_name(own.imported(folders.imports))
    yield from _by_name(own.downloaded(folders.downloads))
    yield from _by_name(hugging_face.models(folders.hugging_face))
    for folder in folders.llama_cpp:
        yield from _by_name(llama_cpp.models(folder))
    for folder in folders.lm_studio:
        yield from _by_name(lm_studio.models(folder))
    for folder in folders.ollama:
        yield from _by_name(ollama.models(folder))


def _by_name(models: Iterable[StoredModel]) -> list[StoredModel]:
    return sorted(models, key=lambda model: (model.name.lower(), str(model.path)))
