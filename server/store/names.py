"""Names of stored models: short, unique, and the same as long as the file stays."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence

from server.store.errors import AmbiguousName, UnknownModel
from server.store.model import StoredModel
from server.store.quantization import quant_of, stem_of

_LATEST = ":latest"
_MOST_LISTED = 8


def repo_names(repo: str, files: Sequence[str]) -> dict[str, str]:
    """Names of a repository's models, by file: `REPO:QUANT`, or `REPO:STEM` for a second one.

    Without a repository, the names are the files' own.
    """
    if not repo:
        return {file: stem_of(file) for file in files}
    names: dict[str, str] = {}
    for file in sorted(files, key=lambda file: (file.count("/"), file)):
        name = f"{repo}:{quant_of(file) or stem_of(file)}"
        names[file] = f"{repo}:{stem_of(file)}" if name in names.values() else name
    return names


def registry_name(kind: str, folder: str, tag: str) -> str:
    """The name that the registry shows: `ai/smollm2:latest`, `llama3:8b`."""
    name = folder.replace("_", "/", 1)
    if kind == "ollama":
        name = name.removeprefix("library/")
    return f"{name}:{tag}"


def unique(models: Iterable[StoredModel]) -> list[StoredModel]:
    """The models, where a second one of a name has its owner's name behind `@`."""
    taken: set[str] = set()
    found = []
    for model in models:
        name, number = model.name, 1
        while name in taken:
            name = f"{model.name}@{model.owner}" + (f"-{number}" if number > 1 else "")
            number += 1
        taken.add(name)
        found.append(model if name == model.name else dataclasses.replace(model, name=name))
    return found


def find(name: str, models: Sequence[StoredModel]) -> StoredModel:
    """The model of this name. A part of a name is enough if only one model has it.

    Parts are the name without tag, without user, or without both. Raises `UnknownModel` and
    `AmbiguousName`, with names that come near.
    """
    text = name.lower().removesuffix(_LATEST)
    steps: tuple[Callable[[StoredModel], bool], ...] = (
        lambda model: model.name == name,
        lambda model: model.name.lower().removesuffix(_LATEST) == text,
        lambda model: text in _short(model.name.lower()),
    )
    for is_meant in steps:
        found = [model for model in models if is_meant(model)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(model.name for model in found[:_MOST_LISTED])
            raise AmbiguousName(f"several models are called {name}: {names}")
    raise UnknownModel(f"there is no model {name}{_near(name, models)}")


def _short(name: str) -> set[str]:
    """What is left of a name without owner, tag, user, or several of them."""
    whole = name.partition("@")[0]
    untagged = whole.partition(":")[0]
    return {whole, untagged, whole.rpartition("/")[2], untagged.rpartition("/")[2]}


def _near(name: str, models: Sequence[StoredModel]) -> str:
    names = [model.name for model in models]
    if not names:
        return "; `llamapack pull` gets one"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else "; `llamapack list` names them"
