"""Names of models as Ollama writes them: with a tag, `latest` if there is no other."""

from __future__ import annotations

from server.errors import NotFound
from server.pool.names import LATEST


def tagged(name: str) -> str:
    """The name with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}{LATEST}"


def untagged(name: str) -> str:
    """The name without the tag that everybody may leave out."""
    return name.removesuffix(LATEST)


def not_found(name: str) -> NotFound:
    """The error of a model that isn't there, in Ollama's words."""
    return NotFound(f"model '{name}' not found", param="model")
