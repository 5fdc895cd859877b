"""Answers constrained by a JSON schema: the cost of a constraint per token.

Sampling is greedy, so a run can be repeated. The grammar and the model choose the length, and
tokens are counted as the server reports them. The schema bounds every part, so even a model with
random weights usually closes its brackets before the limit.
"""

from __future__ import annotations

import json

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, Record, completion

PROMPT, LIMIT = 64, 256
ITEMS = 3

SCHEMA: dict[str, object] = {
    "type": "array",
    "minItems": ITEMS,
    "maxItems": ITEMS,
    "items": {
        "type": "object",
        "properties": {
            "identifier": {"type": "integer", "minimum": 0, "maximum": 99999},
            "title": {"type": "string", "minLength": 4, "maxLength": 24},
            "category": {"enum": ["animal", "vegetable", "mineral"]},
            "available": {"type": "boolean"},
            "keywords": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {"type": "string", "minLength": 2, "maxLength": 12},
            },
        },
        "required": ["identifier", "title", "category", "available", "keywords"],
        "additionalProperties": False,
    },
}


class JsonSchema(Basic):
    name = "json"
    title = f"{PROMPT} random tokens in, an array of {ITEMS} objects out (at most {LIMIT} tokens)"
    key_metrics = ("output_tok_s", "itl_p99_ms")
    needs = Needs(slot_tokens=512)

    def prepare(self, load: Load) -> Plan:
        count = 4 if load.clients == 1 else 2
        clients = []
        for client in range(load.clients):
            prompts = [load.draw(PROMPT, "json", client, index) for index in range(count)]
            steps = [
                completion(prompt, LIMIT, exact=False, temperature=0.0, json_schema=SCHEMA)
                for prompt in prompts
            ]
            clients.append(Client(tuple(steps)))
        return Plan(tuple(clients))

    def check(self, record: Record) -> str:
        if record.reason == "limit":
            return ""
        try:
            answer = json.loads("".join(record.text))
        except ValueError as error:
            return f"the answer is not JSON: {error}"
        whole = isinstance(answer, list) and len(answer) == ITEMS
        return "" if whole else f"the answer is not an array of {ITEMS}"


SCENARIO = JsonSchema()
