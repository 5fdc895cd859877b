"""The scope within which sequences may share cells."""

from __future__ import annotations

from typing import NamedTuple

from protocol.commands import LoraSet, SequenceSpec


class CacheScope(NamedTuple):
    """Sequences share prefixes only if both salt and adapters are equal.

    With salts of their own, tenants can't learn each other's prompts from how fast an answer
    starts. Adapters decide what is in a cell.
    """

    salt: str = ""
    lora: LoraSet = ()

    @classmethod
    def of(cls, spec: SequenceSpec) -> CacheScope:
        """The scope of a sequence."""
        return cls(spec.cache_salt, spec.lora)


NO_SCOPE = CacheScope()
"""The scope of sequences with neither a salt nor adapters."""
