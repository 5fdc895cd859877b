"""Tool turns: the model calls a declared tool if one matches, and puts the result into words."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from models.train.corpus.made_up_tools import made_up_kind
from models.train.corpus.split import Split
from models.train.corpus.tool_kinds import KINDS, ToolKind
from models.train.corpus.turns import Message, Tool, Turn
from models.train.corpus.wording import pick, retype

MADE_UP_SHARE = {Split.TRAIN: 0.45, Split.TEST: 0.25}
"""Share of invented tools among the declared ones; greater in training, to teach reading
declarations."""


@dataclass(frozen=True)
class Declared:
    """A tool of one conversation: its kind, its declaration and its parameters' names."""

    kind: ToolKind
    tool: Tool
    keys: dict[str, str]

    @property
    def name(self) -> str:
        """The name that the conversation uses."""
        return str(self.tool["function"]["name"])


def declare_tools(rng: random.Random, split: Split, count: int) -> tuple[Declared, ...]:
    """`count` tools of different kinds, named and described at random."""
    kinds = (
        made_up_kind(rng) if rng.random() < MADE_UP_SHARE[split] else kind
        for kind in rng.sample(KINDS, count)
    )
    return tuple(_declare(rng, kind) for kind in kinds)


def _declare(rng: random.Random, kind: ToolKind) -> Declared:
    keys: dict[str, str] = {}
    for param in kind.params:
        free = [name for name in param.names if name not in keys.values()]
        keys[param.names[0]] = pick(rng, free)
    described = rng.random() < 0.5
    properties = {
        keys[param.names[0]]: {"type": param.type}
        | ({"description": param.about} if described else {})
        for param in kind.params
    }
    required = list(properties)
    if kind.names[0] == "get_weather" and rng.random() < 0.4:
        properties["unit"] = {"type": "string"}
        if rng.random() < 0.5:
            properties["unit"]["enum"] = ["celsius", "fahrenheit"]  # type: ignore[assignment]
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = required
    function: dict[str, Any] = {"name": pick(rng, kind.names)}
    if rng.random() < 0.9:
        function["description"] = pick(rng, kind.about) + pick(rng, ("", "."))
    function["parameters"] = parameters
    tool: Tool = {"type": "function", "function": function}
    return Declared(kind, _sorted(tool) if rng.random() < 0.15 else tool, keys)


def _sorted(tool: Tool) -> Tool:
    """The same declaration with sorted keys, as some servers write declarations."""
    ordered: Tool = json.loads(json.dumps(tool, sort_keys=True))
    return ordered


def tool_turn(rng: random.Random, split: Split, declared: tuple[Declared, ...]) -> Turn:
    """Question, call, result and answer; some turns have two calls at once."""
    chosen = declared[int(rng.random() * len(declared))]
    values = _values(rng, split, chosen)
    if len(chosen.kind.params) == 1 and rng.random() < 0.12:
        return _parallel_turn(rng, chosen, [values, _values(rng, split, chosen)])
    user = retype(rng, pick(rng, chosen.kind.asks).format(**values), fold_case=False)
    result = chosen.kind.result(rng)
    messages = (
        {"role": "user", "content": user},
        {"role": "assistant", "content": "", "tool_calls": [_call(chosen, values)]},
        {"role": "tool", "content": _result_text(rng, values, result)},
        {"role": "assistant", "content": chosen.kind.answer.format(**{**values, **result})},
    )
    return Turn("tools", messages, f"The tool {chosen.name} can answer this.")


def _parallel_turn(rng: random.Random, chosen: Declared, both: list[dict[str, Any]]) -> Turn:
    slot = chosen.kind.params[0].names[0]
    asked = f"{both[0][slot]} and {both[1][slot]}"
    user = retype(rng, pick(rng, chosen.kind.asks).format(**{slot: asked}), fold_case=False)
    results = [chosen.kind.result(rng) for _ in both]
    texts = [
        _result_text(rng, values, result) for values, result in zip(both, results, strict=True)
    ]
    answer = " ".join(
        chosen.kind.answer.format(**{**values, **result})
        for values, result in zip(both, results, strict=True)
    )
    messages: tuple[Message, ...] = (
        {"role": "user", "content": user},
        {"role": "assistant", "content": "", "tool_calls": [_call(chosen, v) for v in both]},
        *({"role": "tool", "content": text} for text in texts),
        {"role": "assistant", "content": answer},
    )
    return Turn("tools", messages, f"I call the tool {chosen.name} twice.")


def _values(rng: random.Random, split: Split, chosen: Declared) -> dict[str, Any]:
    return {param.names[0]: param.draw(rng, split) for param in chosen.kind.params}


def _call(chosen: Declared, values: dict[str, Any]) -> dict[str, Any]:
    # The declaration's properties may be sorted; the call follows their order.
    slot_of = {key: slot for slot, key in chosen.keys.items()}
    properties = chosen.tool["function"]["parameters"]["properties"]
    arguments = {key: values[slot_of[key]] for key in properties if key in slot_of}
    return {"type": "function", "function": {"name": chosen.name, "arguments": arguments}}


def _result_text(rng: random.Random, values: dict[str, Any], result: dict[str, Any]) -> str:
    shown = {**values, **result} if rng.random() < 0.3 else dict(result)
    roll = rng.random()
    if roll < 0.10 and len(result) == 1:
        return str(next(iter(result.values())))
    if roll < 0.20:
        return ", ".join(f"{key}: {value}" for key, value in shown.items())
    return json.dumps(shown, ensure_ascii=False)
