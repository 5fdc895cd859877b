"""Steady streams while long prompts arrive: how much a prefill delays other streams.

The work is fixed. `clients` decoders (at most the number of slots minus one) generate `STEADY`
tokens each. One more client sends `PROMPTS` long prompts, one after the other, once every decoder
has its first token. Latency is measured on the decoders, from the sending of the first long prompt
to the answer of the last. Throughput counts all tokens.
"""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, completion

LONG, LONG_ANSWER, PROMPTS = 2000, 16, 3
OWN, STEADY = 64, 192


class LongPrefill(Basic):
    name = "long-prefill"
    title = f"steady streams of {STEADY} tokens while {PROMPTS} prompts of {LONG} tokens arrive"
    key_metrics = ("itl_p99_ms", "total_tok_s")
    needs = Needs(slot_tokens=2304)

    def prepare(self, load: Load) -> Plan:
        decoders = [
            Client(
                (completion(load.draw(OWN, "steady", client), STEADY, role="steady"),),
                role="steady",
            )
            for client in range(max(1, min(load.clients, load.slots - 1)))
        ]
        prompts = [load.draw(LONG, "long", index) for index in range(PROMPTS)]
        prefill = Client(
            tuple(completion(prompt, LONG_ANSWER, role="prefill") for prompt in prompts),
            role="prefill",
            after="steady",
        )
        return Plan(
            (*decoders, prefill),
            latency_role="steady",
            latency_during="prefill",
            first_token_role="prefill",
        )


SCENARIO = LongPrefill()
