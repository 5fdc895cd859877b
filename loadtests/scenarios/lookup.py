"""N-gram lookup, which guesses that a text goes on as it did before, with and without.

The scenario of free text is the other half of the one of quotes: what is gained there must not be
lost here.
"""

from __future__ import annotations

from loadtests.inflated import NAME
from loadtests.scenarios.base import OURS, PEER, Guessing, Needs, Variant
from loadtests.scenarios.demo_text import SLOT_TOKENS

SIZE, MOST = 12, 48
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
    guessing=(Guessing(LOOKUP, PLAIN, MOST, lookup=SIZE),),
)
