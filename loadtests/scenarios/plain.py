"""Short prompts, short answers, nothing shared: measures the cost of a step and of a stream."""

from __future__ import annotations

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, Request, completion

PROMPT, ANSWER = 64, 64


class Plain(Basic):
    name = "plain"
    title = f"{PROMPT} random tokens in, {ANSWER} out"
    key_metrics = ("output_tok_s", "itl_p99_ms")
    needs = Needs(slot_tokens=256)

    def prepare(self, load: Load) -> Plan:
        count = requests_per_client(load.clients)
        clients = [
            Client(tuple(_request(load, client, index) for index in range(count)))
            for client in range(load.clients)
        ]
        return Plan(tuple(clients))


def requests_per_client(clients: int) -> int:
    """Enough requests for a stable p99 in a short time: 8 for one client, 4 for eight."""
    return max(4, round(8 - clients / 2))


def _request(load: Load, client: int, index: int) -> Request:
    return completion(load.draw(PROMPT, "plain", client, index), ANSWER)


SCENARIO = Plain()
