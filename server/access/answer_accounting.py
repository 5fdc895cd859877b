"""One HTTP request's answers: its key's rights are checked, its costs are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from server.access.access_record import AccessRecord
from server.errors import ApiError
from server.generation.types import Ended, GenerationRequest, TextDelta


class AnswerAccounting:
    """Prepares and observes the answers of one HTTP request."""

    def __init__(
        self,
        record: AccessRecord,
        *,
        model: str,
        aliases: Iterable[str] = (),
        prompt_text: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        """`model` and `aliases` are all names of the served model.

        `prompt_text` makes text of a prompt's tokens.
        """
        self._record = record
        self._prompt_text = prompt_text
        self._model = model
        self._model_names = frozenset((model, *aliases))

    def prepare(self, request: GenerationRequest) -> GenerationRequest:
        """The request with its key's name, weight and salt.

        Raises `Forbidden` for what the key may not do, and `Overloaded` for a prompt of more
        tokens than the key has left.
        """
        record = self._record
        if record.key is not None:
            key = record.key
            key.check_model(self._model_names)
            key.check_priority(request.spec.priority)
            request = request.with_spec(
                tenant=key.name, weight=key.weight, cache_salt=record.salt(request.spec.cache_salt)
            )
        if record.account is not None:
            record.account.check_tokens(record.prompt_cost(request.spec.prompt), time.monotonic())
        record.model, record.prompt_text = self._model, self._prompt_text
        return request

    def observe(self, request: GenerationRequest) -> AnswerCosts:
        """The observer of one answer."""
        return AnswerCosts(self._record, request.spec.prompt)


class AnswerCosts:
    """An `AnswerObserver` that charges the key and fills the audit record."""

    def __init__(self, record: AccessRecord, prompt: tuple[int, ...]) -> None:
        self._record = record
        self._account = record.account
        self._prompt = prompt
        self._generated = 0
        self._counts_cached = False

    def opened(self) -> None:
        """Charge the prompt, unless an earlier answer to it did."""
        record = self._record
        cost = record.prompt_cost(self._prompt)
        if cost:
            record.charged[id(self._prompt)] = self._prompt
            record.prompt_tokens += cost
            self._charge(cost, time.monotonic())
            self._counts_cached = True

    def delta(self, delta: TextDelta, now: float) -> None:
        """Charge new tokens."""
        self._count(delta, now)

    def ended(self, ended: Ended, now: float) -> None:
        """Charge the last tokens, and note how the answer ended."""
        self._count(ended, now)
        self._record.causes.append(ended.cause.value)

    def failed(self, error: Exception) -> None:
        """Note which error ended the answer."""
        if isinstance(error, ApiError):
            self._record.causes.append(error.kind)

    def closed(self, error: Exception | None) -> None:
        """All is counted already."""

    def _count(self, item: TextDelta | Ended, now: float) -> None:
        record, timings = self._record, item.timings
        new = timings.predicted_n - self._generated
        self._generated = timings.predicted_n
        record.generated_tokens += new
        self._charge(new, now)
        if record.first_token is None and new:
            record.first_token = now
        if self._counts_cached:
            record.cached_tokens += timings.cache_n
            self._counts_cached = False

    def _charge(self, tokens: int, now: float) -> None:
        if self._account is not None and tokens:
            self._account.use_tokens(tokens, now)
