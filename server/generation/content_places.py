"""Where the content of an answer lies in the answer's text, and which tokens are content."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from server.generation.detokenizer import Span
from server.generation.types import GeneratedToken


class ContentPlaces:
    """Finds the content that a parser reports in the text that the parser was fed.

        text:     <think> Hm </think> \\n\\n Paris. \\n <tool_call> ...
        content:                           └─────┘

    A parser passes content on unchanged. It holds content back only while a mark may follow, so
    content that is reported ends at or near the end of the text.
    """

    def __init__(self) -> None:
        self._text = ""
        """The text behind everything that was placed."""
        self._start = 0
        """Where this text begins in the whole text."""
        self._waiting: deque[Span] = deque()
        """Places of the content that is not released."""

    @property
    def next_start(self) -> int | None:
        """The place of the first character that is not released; None if all is released."""
        return self._waiting[0][0] if self._waiting else None

    def read(self, text: str) -> None:
        """Add text that the parser reads now."""
        self._text += text

    def pass_over(self, text: str) -> None:
        """Note that the parser reported `text` as something else than content."""
        self._place(text)

    def forget_before(self, num_last: int) -> None:
        """Forget all text but the last characters: content can't begin earlier."""
        cut = max(len(self._text) - num_last, 0)
        self._start += cut
        self._text = self._text[cut:]

    def add(self, content: str) -> None:
        """Note that the parser reported content."""
        self._waiting.append(self._place(content))

    def release(self, count: int) -> list[Span]:
        """The places of the next `count` characters of content."""
        spans = []
        while count and self._waiting:
            start, end = self._waiting.popleft()
            if end - start > count:
                self._waiting.appendleft((start + count, end))
                end = start + count
            count -= end - start
            spans.append((start, end))
        return spans

    def _place(self, part: str) -> Span:
        at = self._find(part)
        start = self._start + at
        self._start = start + len(part)
        self._text = self._text[at + len(part) :]
        return start, self._start

    def _find(self, part: str) -> int:
        """Where the part stands. In `<<`, of which one `<` is held, it is the first that counts."""
        last = max(self._text.rfind(part), 0)
        return 0 if last <= len(part) and self._text.startswith(part) else last


class ContentTokens:
    """Sorts out the tokens that stand for content, wholly or in part."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Span, GeneratedToken]] = deque()

    def add(self, token: GeneratedToken, start: int, end: int) -> None:
        """Add a token with the place of its text. A token of bytes has the place of its character.

        A token that stands for no text is no content.
        """
        if token.piece:
            self._waiting.append(((start, max(end, start + 1)), token))

    def take(self, content: Iterable[Span]) -> list[GeneratedToken]:
        """The tokens of content at these places. The places must rise from call to call."""
        found = []
        for first, end in content:
            while self._waiting and self._waiting[0][0][0] < end:
                (_, token_end), token = self._waiting.popleft()
                if token_end > first:
                    found.append(token)
        return found
