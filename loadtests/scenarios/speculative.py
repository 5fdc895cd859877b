"""Speculative decoding with a draft model, with and without, on both servers.

The target is the demo model inflated to 300M weights, and the draft is the demo draft. So the two
models agree as a trained pair does. llama-server drafts with its defaults (always 3 tokens).
"""

from __future__ import annotations

from loadtests.harness.scenario import OURS, PEER, Basic, Load, Needs, Plan, Speculation, Variant
from loadtests.inflated import DRAFT, NAME
from loadtests.scenarios.demo_text import SLOT_TOKENS, demo_plan, free_text

MAX_DRAFT = 16
"""Our default of --spec-draft-n-max."""
DRAFTING, PLAIN = f"{OURS}, draft", f"{OURS}, plain"
PEER_DRAFTING, PEER_PLAIN = f"{PEER}, draft", f"{PEER}, plain"
_FLAGS = ("-md", str(DRAFT), "--spec-type", "draft-simple")


class Speculative(Basic):
    name = "speculative"
    title = "questions of the demo model's test, greedy, with and without its draft model"
    key_metrics = ("stream_tok_s", "output_tok_s")
    needs = Needs(
        slot_tokens=SLOT_TOKENS,
        model=f"{NAME}-f16",
        variants=(
            Variant(PLAIN, OURS),
            Variant(DRAFTING, OURS, _FLAGS),
            Variant(PEER_DRAFTING, PEER, _FLAGS),
            Variant(PEER_PLAIN, PEER),
        ),
        ratios=((DRAFTING, PLAIN), (DRAFTING, PEER_DRAFTING), (PEER_DRAFTING, PEER_PLAIN)),
        speculation=(Speculation(DRAFTING, PLAIN, MAX_DRAFT, draft=DRAFT),),
    )

    def prepare(self, load: Load) -> Plan:
        return demo_plan(load, free_text(load), 24 if load.clients == 1 else 8)


SCENARIO = Speculative()
