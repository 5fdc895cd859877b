"""Drafts by n-gram lookup, which assume that a text continues as it did before, with and without.

`quote` and `free_text` are two halves of one measurement: the gain of `quote` must not cost
anything in `free_text`.
"""

from __future__ import annotations

from loadtests.harness.scenario import OURS, PEER, Needs, Speculation, Variant
from loadtests.inflated import NAME
from loadtests.scenarios.demo_text import SLOT_TOKENS

SIZE, MAX_DRAFT = 12, 48
"""Both servers' defaults of --spec-ngram-simple-size-n and -m."""
LOOKUP, SHARED, PLAIN = f"{OURS}, simple", f"{OURS}, mod", f"{OURS}, plain"
PEER_LOOKUP, PEER_PLAIN = f"{PEER}, simple", f"{PEER}, plain"
_SIMPLE = ("--spec-type", "ngram-simple")

LOOKUP_NEEDS = Needs(
    slot_tokens=SLOT_TOKENS,
    model=f"{NAME}-f16",
    variants=(
        Variant(PLAIN, OURS),
        Variant(LOOKUP, OURS, _SIMPLE),
        Variant(SHARED, OURS, ("--spec-type", "ngram-mod")),
        Variant(PEER_LOOKUP, PEER, _SIMPLE),
        Variant(PEER_PLAIN, PEER),
    ),
    ratios=((LOOKUP, PLAIN), (SHARED, PLAIN), (LOOKUP, PEER_LOOKUP), (PEER_LOOKUP, PEER_PLAIN)),
    speculation=(Speculation(LOOKUP, PLAIN, MAX_DRAFT, lookup=SIZE),),
)
