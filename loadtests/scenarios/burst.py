"""Prompts of many lengths that arrive at once: measures in which order they are computed.

Each client sends one request. The sum of the work is the same in any order, so the last first token
comes at about the same time; the others may come much earlier.
"""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, completion

PROMPTS, ANSWER = (64, 1024, 128, 512, 256), 32
"""Tokens of the prompts, which the clients take in turn."""


class Burst(Basic):
    name = "burst"
    title = (
        f"{min(PROMPTS)} to {max(PROMPTS)} random tokens in, from all clients at once, {ANSWER} out"
    )
    key_metrics = ("ttft_p50_ms", "ttft_p95_ms")
    needs = Needs(slot_tokens=1280)

    def prepare(self, load: Load) -> Plan:
        lengths = [PROMPTS[client % len(PROMPTS)] for client in range(load.clients)]
        requests = [
            completion(load.draw(length, "burst", client), ANSWER)
            for client, length in enumerate(lengths)
        ]
        return Plan(tuple(Client((request,)) for request in requests))


SCENARIO = Burst()
