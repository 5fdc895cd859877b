"""A stored model as JSON and in words: where it lies, and what its head says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.model.gguf_contents import GgufContents
from server.model.gguf_header import GgufError
from server.model.inspection import Inspector
from server.store.model import StoredModel
from server.store.quantization import quant_of

_STEPS = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


@dataclass(frozen=True, slots=True)
class Described:
    """A model and its head; `contents` is None for a file whose head can't be read."""

    model: StoredModel
    contents: GgufContents | None
    problem: str = ""

    @property
    def quantization(self) -> str:
        """The quantization that the head names, otherwise the name's."""
        known = self.contents.file_type if self.contents else ""
        return known or quant_of(self.model.path.name)

    @property
    def architecture(self) -> str:
        """The architecture, or an empty text."""
        return self.contents.architecture if self.contents else ""


@contextmanager
def describing() -> Iterator[Describer]:
    """Give what describes models, with a confined process that ends with the block."""
    with closing(Inspector()) as inspector:
        yield Describer(inspector)


class Describer:
    """Reads the heads of models in a confined process."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    def of(self, model: StoredModel) -> Described:
        """The model with its head."""
        try:
            return Described(model, self._inspector.contents(model.path))
        except GgufError as error:
            return Described(model, None, str(error))

    def all(self, models: Sequence[StoredModel]) -> list[Described]:
        """The models with their heads."""
        return [self.of(model) for model in models]


def as_json(described: Described) -> dict[str, Any]:
    """What lists and scripts get of a model."""
    model = described.model
    return {
        "name": model.name,
        "path": str(model.path),
        "size": model.size,
        "owner": model.owner,
        "modified": model.modified.isoformat(timespec="seconds"),
        "digest": model.digest or None,
        "files": [str(file) for file in model.files],
        "projector": None if model.projector is None else str(model.projector),
        "quantization": described.quantization or None,
        "architecture": described.architecture or None,
        "problem": described.problem or None,
    }


def ago(moment: datetime, now: datetime) -> str:
    """How long ago something was: `3 days ago`."""
    seconds = (now - moment).total_seconds()
    for step, name in _STEPS:
        if seconds >= step:
            count = int(seconds // step)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
