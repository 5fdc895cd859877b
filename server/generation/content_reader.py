"""Reads an answer with a parser: its events, cut at a stop string in the content."""

from __future__ import annotations

from collections.abc import Sequence

from server.generation.content_places import ContentPlaces
from server.generation.detokenizer import Detokenizer, Released, Span
from server.generation.stops import StopMatcher
from server.parsers.events import AnswerEvent, AnswerParser, Content, Reasoning


class ContentReader:
    """Assembles one answer whose text a parser reads. It has the methods of `Detokenizer`.

    Stop strings count in the content alone: a client does not see the thinking and the marks of
    calls as text. The text that is released is the whole text.
    """

    def __init__(self, parser: AnswerParser, stop: tuple[str, ...] = ()) -> None:
        self._parser = parser
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(stop)
        self._places = ContentPlaces()

    @property
    def num_received(self) -> int:
        """Characters of all text so far."""
        return self._detokenizer.num_received

    @property
    def num_released(self) -> int:
        """Characters up to the first one that may belong to a stop string, or does."""
        held = self._places.next_start
        return self.num_received if held is None else held

    def feed(self, piece: bytes) -> Released:
        """Add a token's bytes."""
        text = self._detokenizer.feed(piece).text
        return self._read(text) if text else Released("")

    def finish(self) -> Released:
        """Release what was held back: nothing follows."""
        read = self._read(self._detokenizer.finish().text)
        if read.stopping_word:
            return read
        last = self._take("", self._parser.finish())
        events, spans = [*read.events, *last.events], [*read.content, *last.content]
        rest = "" if last.stopping_word else self._stops.finish()
        if rest:
            events.append(Content(rest))
            spans += self._places.release(len(rest))
        return Released(read.text, last.stopping_word, tuple(events), tuple(spans))

    def _read(self, text: str) -> Released:
        self._places.read(text)
        return self._take(text, self._parser.feed(text))

    def _take(self, text: str, read: Sequence[AnswerEvent]) -> Released:
        """The events that may be sent; none behind a stop string."""
        events: list[AnswerEvent] = []
        spans: list[Span] = []
        for event in read:
            if not isinstance(event, Content):
                self._pass_over(event, len(text))
                events.append(event)
                continue
            self._places.add(event.text)
            cut = self._stops.feed(event.text)
            if cut.text:
                events.append(Content(cut.text))
                spans += self._places.release(len(cut.text))
            if cut.stopping_word:
                return Released(text, cut.stopping_word, tuple(events), tuple(spans))
        return Released(text, "", tuple(events), tuple(spans))

    def _pass_over(self, event: AnswerEvent, num_new: int) -> None:
        if isinstance(event, Reasoning):
            self._places.pass_over(event.text)
        else:
            # The text of a call is not always what the model wrote.
            self._places.forget_before(num_new)
