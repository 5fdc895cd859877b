"""The generator as one request sees it: with its key's rights, and its costs counted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from server.access.access_record import AccessRecord
from server.errors import ApiError
from server.generation.types import Ended, GenerationRequest, Generator, Item, TextDelta


class KeyedGenerator:
    """Wraps a `Generator` for the time of one HTTP request."""

    def __init__(
        self, inner: Generator, visit: AccessRecord, *, model: str, aliases: Iterable[str] = ()
    ) -> None:
        """`model` and `aliases` are all names of the model that `inner` runs."""
        self._inner = inner
        self._visit = visit
        self._model = model
        self._model_names = frozenset((model, *aliases))

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        """The same as the inner generator's.

        Also raises `Forbidden` for what the key may not do, and `Overloaded` for a prompt of more
        tokens than it has left.
        """
        visit = self._visit
        # Several answers to one prompt share its very tuple: it costs once.
        is_new = not any(request.spec.prompt is prompt for prompt in visit.prompts)
        cost = len(request.spec.prompt) if is_new else 0
        request = self._as_key(request)
        if visit.account is not None:
            visit.account.check_tokens(cost, time.monotonic())
        visit.model = self._model
        async with self._inner.open(request) as items:
            if is_new:
                visit.prompts.append(request.spec.prompt)
            self._charge(cost)
            visit.prompt_tokens += cost
            yield self._counted(items, counts_cached=is_new)

    def _as_key(self, request: GenerationRequest) -> GenerationRequest:
        """The request as it may be. Raises `Forbidden`."""
        key = self._visit.key
        if key is None:
            return request
        key.check_model(self._model_names)
        key.check_priority(request.spec.priority)
        return request.with_spec(
            tenant=key.name, weight=key.weight, cache_salt=key.salt(request.spec.cache_salt)
        )

    def _charge(self, tokens: int) -> None:
        if self._visit.account is not None and tokens:
            self._visit.account.use_tokens(tokens, time.monotonic())

    async def _counted(
        self, items: AsyncIterator[Item], *, counts_cached: bool
    ) -> AsyncIterator[Item]:
        visit = self._visit
        generated = 0
        try:
            async for item in items:
                if isinstance(item, TextDelta | Ended):
                    new = item.timings.predicted_n - generated
                    generated += new
                    self._count(item, new)
                    if counts_cached:
                        visit.cached_tokens += item.timings.cache_n
                        counts_cached = False
                yield item
        except ApiError as error:
            visit.causes.append(error.kind)
            raise

    def _count(self, item: TextDelta | Ended, new: int) -> None:
        visit = self._visit
        visit.generated_tokens += new
        self._charge(new)
        if visit.first_token is None and new:
            visit.first_token = time.monotonic()
        if isinstance(item, Ended):
            visit.causes.append(item.cause.value)
