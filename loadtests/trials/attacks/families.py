"""All attacks, family by family."""

from __future__ import annotations

from loadtests.trials.attacks import (
    blame,
    cache,
    connections,
    fields,
    masks,
    memory,
    privacy,
    restarts,
    small,
    templates,
    text,
    work,
)
from loadtests.trials.attacks.attack import Attack

_FAMILIES = (
    *(text, work, blame, fields, masks, memory, connections, restarts, cache, templates),
    *(privacy, small),
)

ATTACKS: tuple[Attack, ...] = tuple(attack for family in _FAMILIES for attack in family.ATTACKS)
