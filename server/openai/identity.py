"""The fields that all objects of one answer have in common: id, time, model."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from config.version import build_fingerprint

FINGERPRINT = build_fingerprint()

TEXT_COMPLETION = "text_completion"
"""The `object` of text completions, whole and streamed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Made once for each request, so that all chunks have the same values."""

    id: str
    created: int
    """Unix time in seconds."""
    model: str
    """The name of the served model, whatever name the request used."""

    def fields(self, kind: str) -> dict[str, Any]:
        """The first fields of an object of this kind."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


def new_identity(prefix: str, model_name: str) -> Identity:
    """A new identity, whose id begins with `prefix`."""
    return Identity(f"{prefix}-{secrets.token_hex(16)}", int(time.time()), model_name)
