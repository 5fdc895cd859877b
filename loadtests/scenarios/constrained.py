"""The cost of a constraint and the gain of forced text, on our server alone.

The scenario compares tokens per second of free answers, of answers under a schema of texts, and of
answers under a schema of many fixed keys. The servers are started with the schema, so all of them
are sent the same requests. Each answer has the same number of tokens.
"""

from __future__ import annotations

import json

from loadtests.harness.scenario import OURS, Basic, Client, Load, Needs, Plan, Variant, completion
from loadtests.inflated import NAME

PROMPT, ANSWER = 64, 192
FREE, TEXTS, KEYS = f"{OURS}, free", f"{OURS}, texts", f"{OURS}, keys"
ENDLESS = 1000
"""Number of items; more than any answer holds."""


def _list_of(properties: dict[str, object]) -> str:
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return json.dumps({"type": "array", "minItems": ENDLESS, "items": item})


_TEXTS = _list_of({"title": {"type": "string", "minLength": 40}, "tags": {"type": "string"}})
"""A schema that forces almost nothing."""

_KEYS = _list_of(
    {
        "identification_number": {"type": "integer", "minimum": 0, "maximum": 9999},
        "date_of_last_modification": {"type": "string", "format": "date"},
        "is_currently_available": {"type": "boolean"},
        "preferred_delivery_method": {"enum": ["standard shipping", "express shipping"]},
        "requires_signature_on_delivery": {"type": "boolean"},
        "estimated_number_of_days": {"type": "integer", "minimum": 1, "maximum": 30},
    }
)


class Constrained(Basic):
    name = "constrained"
    title = f"{PROMPT} random tokens in, {ANSWER} out: free, texts in JSON, many fixed keys"
    key_metrics = ("output_tok_s",)
    needs = Needs(
        slot_tokens=512,
        model=f"{NAME}-q8_0",
        variants=(
            Variant(FREE, OURS),
            Variant(TEXTS, OURS, ("--json-schema", _TEXTS)),
            Variant(KEYS, OURS, ("--json-schema", _KEYS)),
        ),
        ratios=((TEXTS, FREE), (KEYS, FREE)),
    )

    def prepare(self, load: Load) -> Plan:
        clients = []
        for client in range(load.clients):
            prompts = [load.draw(PROMPT, "constrained", client, index) for index in range(2)]
            steps = tuple(completion(prompt, ANSWER) for prompt in prompts)
            clients.append(Client(steps))
        return Plan(tuple(clients))


SCENARIO = Constrained()
