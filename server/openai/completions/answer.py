"""One choice of a text completion, from its deltas to its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.generation.types import Ended, GeneratedToken, PromptScores, TextDelta
from server.model.tokenizer import Tokenizer
from server.openai.completions.logprobs import LISTS, ScoredEcho, TextLogprobs, extend, joined
from server.openai.finish import finish_reason


class TextChoice:
    """Collects a whole choice, or writes the pieces of a streamed choice."""

    num_reasoning_tokens = 0
    """Text completions don't tell thinking from other text."""

    def __init__(
        self,
        index: int,
        echo: str,
        tokenizer: Tokenizer,
        *,
        with_logprobs: bool,
        with_tokens: bool,
        scored: Sequence[int] = (),
    ) -> None:
        """The text of the choice begins with `echo`. With `with_tokens` it lists its token ids.

        `scored` are the tokens of the prompt, if their log-probabilities are part of the answer.
        """
        self._index = index
        self._texts = [echo] if echo else []
        self._echo = ScoredEcho(scored, echo, tokenizer) if scored else None
        self._token_ids: list[int] = []
        self._kept: dict[str, Any] | None = None
        """The log-probabilities of a whole choice."""
        self._with_tokens = with_tokens
        self._logprobs = TextLogprobs(tokenizer, len(echo)) if with_logprobs else None

    def add(self, delta: TextDelta) -> None:
        """More text of a whole choice."""
        self._texts.append(delta.text)
        self._token_ids += [token.id for token in delta.tokens]
        if self._logprobs and delta.tokens:
            self._kept = self._kept or {name: [] for name in LISTS}
            extend(self._kept, self._logprobs.entries(delta.tokens))

    def scored(self, scores: PromptScores) -> None:
        """Log-probabilities of the prompt."""
        if self._echo is not None:
            self._echo.add(scores.logprobs)

    def choice(self, ended: Ended) -> dict[str, Any]:
        """The finished choice."""
        choice = self._shape("".join(self._texts), (), finish_reason(ended))
        choice["logprobs"] = self._kept
        if self._with_tokens:
            choice["tokens"] = self._token_ids
        if self._echo is None:
            return choice
        return choice | {"logprobs": joined(self._echo.entries(), choice["logprobs"])}

    def start(self) -> dict[str, Any] | None:
        """The first piece of a stream, if the prompt is echoed without scores."""
        if not self._texts or self._echo is not None:
            return None
        return self._shape("".join(self._texts), (), None)

    def take_echo(self) -> dict[str, Any] | None:
        """The first piece of a stream that echoes the prompt with its scores; given out once."""
        echo, self._echo = self._echo, None
        if echo is None:
            return None
        return self._shape("".join(self._texts), (), None) | {"logprobs": echo.entries()}

    def piece(self, delta: TextDelta) -> dict[str, Any]:
        """The next piece of a stream."""
        return self._shape(delta.text, delta.tokens, None)

    def end(self, ended: Ended) -> dict[str, Any]:
        """The last piece of a stream."""
        return self._shape("", (), finish_reason(ended))

    def empty(self) -> dict[str, Any]:
        """A piece without any text."""
        return self._shape("", (), None)

    def _shape(
        self, text: str, tokens: tuple[GeneratedToken, ...], finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs.entries(tokens) if self._logprobs and tokens else None
        choice: dict[str, Any] = {
            "text": text,
            "index": self._index,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
        return choice | ({"tokens": [token.id for token in tokens]} if self._with_tokens else {})
