"""N-gram lookup on answers that quote their prompt, where its drafts are accepted."""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Load, Plan
from loadtests.scenarios.demo_text import demo_plan, quotes
from loadtests.scenarios.lookup import LOOKUP_NEEDS


class Quote(Basic):
    name = "quote"
    title = "texts of a few sentences to repeat, greedy, with and without n-gram lookup"
    key_metrics = ("stream_tok_s", "output_tok_s")
    needs = LOOKUP_NEEDS

    def prepare(self, load: Load) -> Plan:
        return demo_plan(load, quotes(load), 8 if load.clients == 1 else 3)


SCENARIO = Quote()
