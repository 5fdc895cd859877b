"""The field `verbose`: OpenAI's answers with llama-server's own account of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.answers.native_record import NativeRecord
from server.context import ServerContext
from server.generation.types import Ended, GenerationRequest, TextDelta
from server.requests.sampling_fields import SamplingFields

VERBOSE_LEVEL = 5
"""The `--verbosity` from which on all answers are verbose; `-v` sets it."""


class VerboseRecords:
    """One record for each sequence, or none for an answer that isn't verbose."""

    def __init__(self, records: Sequence[NativeRecord] = ()) -> None:
        self._records = records

    def add(self, index: int, delta: TextDelta) -> None:
        """Note more text of a sequence."""
        if self._records:
            self._records[index].add(delta)

    def fields(self, index: int, ended: Ended) -> dict[str, Any]:
        """The additional fields of the object that ends a sequence."""
        return {"__verbose": self._records[index].final(ended)} if self._records else {}


NO_RECORDS = VerboseRecords()


def verbose_records(
    body: SamplingFields, sequences: Sequence[GenerationRequest], context: ServerContext
) -> VerboseRecords:
    """The records of an answer, if the request or the server's log level asks for them."""
    is_verbose = context.settings.verbosity >= VERBOSE_LEVEL
    if not (is_verbose if body.verbose is None else body.verbose):
        return NO_RECORDS
    return VerboseRecords(
        [NativeRecord(index, body, request, context) for index, request in enumerate(sequences)]
    )
