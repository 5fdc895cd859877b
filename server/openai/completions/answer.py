"""One choice of a text completion, from its deltas to its JSON."""

from __future__ import annotations

from typing import Any

from server.generation.types import Ended, GeneratedToken, TextDelta
from server.model.tokenizer import Tokenizer
from server.openai.finish import finish_reason
from server.openai.logprobs import TextLogprobs


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
    ) -> None:
        """The text of the choice begins with `echo`. With `with_tokens` it lists its token ids."""
        self._index = index
        self._texts = [echo] if echo else []
        self._tokens: list[GeneratedToken] = []
        self._with_tokens = with_tokens
        self._logprobs = TextLogprobs(tokenizer, len(echo)) if with_logprobs else None

    def add(self, delta: TextDelta) -> None:
        """More text of a whole choice."""
        self._texts.append(delta.text)
        self._tokens += delta.tokens

    def choice(self, ended: Ended) -> dict[str, Any]:
        """The finished choice."""
        return self._shape("".join(self._texts), tuple(self._tokens), finish_reason(ended))

    def start(self) -> dict[str, Any] | None:
        """The first piece of a stream, if the prompt is echoed."""
        return self._shape("".join(self._texts), (), None) if self._texts else None

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
