"""One long prompt prefix for all requests, like a system prompt: the gain of a prefix cache."""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, completion

SHARED, OWN, ANSWER = 1024, 32, 32
REQUESTS = 2


class SharedPrefix(Basic):
    """The prefix is new in every round, so it isn't cached when the first request arrives."""

    name = "shared-prefix"
    title = f"{SHARED} shared and {OWN} own tokens in, {ANSWER} out"
    key_metrics = ("output_tok_s", "ttft_p95_ms")
    needs = Needs(slot_tokens=1280)

    def prepare(self, load: Load) -> Plan:
        shared = load.draw(SHARED, "shared")
        clients = []
        for client in range(load.clients):
            own = [load.draw(OWN, "own", client, index) for index in range(REQUESTS)]
            clients.append(Client(tuple(completion(shared + tail, ANSWER) for tail in own)))
        return Plan(tuple(clients))


SCENARIO = SharedPrefix()
