"""Who may start from whose cells."""

from __future__ import annotations

from typing import NamedTuple

from protocol.commands import LoraSet, SequenceSpec


class CacheScope(NamedTuple):
    """Prefixes are shared only within a scope: the same salt, so that tenants can't learn of each
    other's prompts from how fast an answer starts, and the same adapters, because those decide
    what is in a cell."""

    salt: str = ""
    lora: LoraSet = ()

    @classmethod
    def of(cls, spec: SequenceSpec) -> CacheScope:
        """The one that a sequence belongs to."""
        return cls(spec.cache_salt, spec.lora)


NO_SCOPE = CacheScope()
"""Of what has neither a salt nor adapters."""
