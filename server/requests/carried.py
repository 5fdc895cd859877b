"""The bound on what all answers of one request carry, counted while its prompts are tokenized."""

from __future__ import annotations

from collections.abc import Mapping

from grammars.constraint import Constraint, GbnfGrammar, LazyConstraint, ThinkingConstraint
from protocol.sampling import SamplingParams
from server.bodies.bounds import CARRIED
from server.errors import InvalidRequest
from server.requests.sampling_fields import SamplingFields

TOKEN_BYTES = 40
"""A token of a prompt, in a list of Python's."""

BIAS_BYTES = 512
"""A biased token: in tuples here, in the engine and on the way, and in the answer as JSON."""


class CarriedBytes:
    """What the answers carry: each has its own copy of its prompt, biases and texts."""

    def __init__(self, shared: Mapping[str, int] | None = None, *, copies: int = 1) -> None:
        """`shared` are the bytes that each answer carries beside its prompt, by field. Each prompt
        has `copies` answers."""
        self._shared = dict(shared or {})
        self._copies = copies
        self._num_answers = 0
        self._num_tokens = 0

    def add_prompt(self, num_tokens: int, *, param: str = "prompt") -> None:
        """Count the answers to one more prompt.

        Raises `InvalidRequest` naming the field that most bytes come from, if they are too many.
        One answer may always be asked for: its body and its context bound it.
        """
        self._num_answers += self._copies
        self._num_tokens += num_tokens * self._copies
        found = {name: size * self._num_answers for name, size in self._shared.items()}
        found[param] = self._num_tokens * TOKEN_BYTES
        total = sum(found.values())
        if self._num_answers > 1 and total > CARRIED.most:
            largest = max(found, key=lambda name: found[name])
            raise InvalidRequest(
                f"'{largest}' is too large for {self._num_answers} answers, which all carry it: "
                f"with the rest of the request {total:,} bytes, at most {CARRIED.most:,}",
                param=largest,
            )


def carried_by(
    fields: SamplingFields, sampling: SamplingParams, constraint: Constraint | None
) -> dict[str, int]:
    """The bytes that each answer to these fields carries, by field."""
    triggers = sum(len(trigger.value) for trigger in fields.grammar_triggers)
    return {
        "logit_bias": len(sampling.logit_bias) * BIAS_BYTES,
        "stop": sum(map(len, fields.stop)),
        "grammar": _size(constraint),
        "grammar_triggers": triggers + sum(map(len, fields.preserved_tokens)),
    }


def _size(constraint: Constraint | None) -> int:
    while isinstance(constraint, LazyConstraint | ThinkingConstraint):
        constraint = constraint.constraint
    if constraint is None:
        return 0
    return len(constraint.text if isinstance(constraint, GbnfGrammar) else constraint.definition)
