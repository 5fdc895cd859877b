"""The load of `shared-prefix` with API keys: what it costs that keys share no prefix."""

from __future__ import annotations

from loadtests.harness.scenario import OURS, Needs, Variant
from loadtests.scenarios.shared_prefix import SharedPrefix

APART, TOGETHER = f"{OURS}, key", f"{OURS}, all"
"""The values of --cache-sharing."""


class PrefixOfKeys(SharedPrefix):
    """Each key computes the prefix once, or the first key does it for all."""

    name = "prefix-of-keys"
    needs = Needs(
        slot_tokens=SharedPrefix.needs.slot_tokens,
        keys=8,
        variants=(
            Variant(APART, OURS, ("--cache-sharing", "key")),
            Variant(TOGETHER, OURS, ("--cache-sharing", "all")),
        ),
        ratios=((APART, TOGETHER),),
    )


SCENARIO = PrefixOfKeys()
