"""N-gram lookup on answers that quote nothing, where it must cost nothing."""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Load, Plan
from loadtests.scenarios.demo_text import demo_plan, free_text
from loadtests.scenarios.lookup import LOOKUP_NEEDS


class FreeText(Basic):
    name = "free-text"
    title = "questions of the demo model's test, greedy, with and without n-gram lookup"
    key_metrics = ("stream_tok_s", "output_tok_s")
    needs = LOOKUP_NEEDS

    def prepare(self, load: Load) -> Plan:
        return demo_plan(load, free_text(load), 24 if load.clients == 1 else 8)


SCENARIO = FreeText()
