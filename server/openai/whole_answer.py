"""A completion in one piece: the object that chats and text completions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from server.answers.shape import WholeAnswer
from server.answers.verbose import NO_RECORDS, VerboseRecords
from server.generation.timings import timings_json
from server.generation.types import Ended, PromptScores, TextDelta, Timings
from server.openai.identity import new_identity
from server.openai.usage import Usage


class Choice(Protocol):
    """Collects one choice."""

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens in which the model was thinking."""
        ...

    def add(self, delta: TextDelta) -> None:
        """More text of the choice."""
        ...

    def scored(self, scores: PromptScores) -> None:
        """Log-probabilities of the choice's prompt."""
        ...

    def choice(self, ended: Ended) -> dict[str, Any]:
        """The finished choice."""
        ...


class WholeCompletion(WholeAnswer):
    """All choices, the usage, and the timings and the record of the first choice."""

    def __init__(
        self,
        choices: Sequence[Choice],
        model_name: str,
        *,
        choices_per_prompt: int,
        prefix: str,
        kind: str,
        records: VerboseRecords = NO_RECORDS,
    ) -> None:
        """`prefix` opens the id, and `kind` is the field `object`."""
        self._choices = choices
        self._model_name = model_name
        self._prefix = prefix
        self._kind = kind
        self._finished: list[dict[str, Any]] = [{}] * len(choices)
        self._usage = Usage(choices_per_prompt)
        self._timings: dict[int, Timings] = {}
        self._records = records
        self._verbose: dict[str, Any] = {}

    def add(self, index: int, delta: TextDelta) -> None:
        self._choices[index].add(delta)
        self._records.add(index, delta)

    def scored(self, index: int, scores: PromptScores) -> None:
        self._choices[index].scored(scores)

    def end(self, index: int, ended: Ended) -> None:
        choice = self._choices[index]
        self._finished[index] = choice.choice(ended)
        self._usage.add(index, ended, choice.num_reasoning_tokens)
        self._timings[index] = ended.timings
        if index == 0:
            self._verbose = self._records.fields(index, ended)

    def body(self) -> dict[str, Any]:
        return {
            **new_identity(self._prefix, self._model_name).fields(self._kind),
            "choices": self._finished,
            "usage": self._usage.to_json(),
            "timings": timings_json(self._timings[0]),
            **self._verbose,
        }
