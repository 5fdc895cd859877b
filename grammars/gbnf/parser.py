"""A parser for GBNF, llama.cpp's notation for grammars."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

from grammars import limits
from grammars.errors import GrammarError
from grammars.gbnf.nodes import EMPTY, Chars, Node, Repeat, Rule, Token, char_set, choice, sequence

_NAME = re.compile(r"[a-zA-Z0-9-]+")
_NUMBER = re.compile(r"[0-9]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NEWLINE = re.compile(r"\r\n?|\n")
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", **{char: char for char in '\\"[]-'}}
_REPEATS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Grammar:
    """The rules of a grammar by name, and the place where each rule begins (`line:column`)."""

    def __init__(self, rules: dict[str, Node], places: dict[str, str]) -> None:
        self.rules: Mapping[str, Node] = MappingProxyType(rules)
        self.places: Mapping[str, str] = MappingProxyType(places)


def parse(text: str) -> Grammar:
    """Parse a grammar's text. Raises `GrammarError` with `line:column`."""
    return _Parser(text).grammar()


class _Parser:
    """A recursive-descent parser; `_at` is the index of the next character.

    As in llama.cpp, a rule ends with its line, except inside parentheses and after `::=` and `|`.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._depth = 0
        self._num_stacked = 0
        """How many repetitions in this rule repeat another repetition."""
        self._rules: dict[str, Node] = {}
        self._places: dict[str, str] = {}
        self._references: dict[str, int] = {}

    def grammar(self) -> Grammar:
        """Parse the whole text."""
        if "\0" in self._text:
            self._fail("a NUL character", self._text.index("\0"))
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            self._rule()
        for name, at in self._references.items():
            if name not in self._rules:
                self._fail(f"the rule {name!r} is not defined", at)
        if "root" not in self._rules:
            raise GrammarError("there is no rule 'root', where a grammar starts")
        return Grammar(self._rules, self._places)

    def _rule(self) -> None:
        start = self._at
        name = self._match(_NAME, "the name of a rule")
        if name in self._rules:
            self._fail(f"the rule {name!r} is defined twice", start)
        if len(self._rules) == limits.MAX_RULES:
            self._fail(f"more than {limits.MAX_RULES} rules", start)
        self._skip(_SPACE)
        self._expect("::=")
        self._skip(_SPACE_AND_LINES)
        self._places[name] = self._place(start)
        self._num_stacked = 0
        self._rules[name] = self._choice(nested=False)
        if self._at < len(self._text):
            self._match(_NEWLINE, "the end of the line, or another item of this rule")
        self._skip(_SPACE_AND_LINES)

    def _choice(self, *, nested: bool) -> Node:
        options = [self._sequence(nested=nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            options.append(self._sequence(nested=nested))
        return choice(options)

    def _sequence(self, *, nested: bool) -> Node:
        space = _SPACE_AND_LINES if nested else _SPACE
        items: list[Node] = []
        while (item := self._item()) is not None:
            self._skip(space)
            while (bounds := self._bounds(space)) is not None:
                self._count_stacked(item)
                item = Repeat(item, *bounds)
                self._skip(space)
            items.append(item)
        if self._peek() and self._peek() in "*+?{":
            self._fail(f"nothing before the {self._peek()!r} to repeat")
        return sequence(items)

    def _count_stacked(self, item: Node) -> None:
        self._num_stacked += isinstance(item, Repeat)
        if self._num_stacked > limits.MAX_GROUP_DEPTH:
            self._fail(f"more than {limits.MAX_GROUP_DEPTH} repetitions of repetitions")

    def _item(self) -> Node | None:
        char = self._peek()
        if char == '"':
            return self._literal()
        if char == "[":
            return self._char_class()
        if char and char in "<!":
            return self._token()
        if char == "(":
            return self._group()
        if char == ".":
            self._at += 1
            return char_set([], negated=True)
        if char and _NAME.match(char):
            start = self._at
            name = self._match(_NAME, "the name of a rule")
            self._references.setdefault(name, start)
            return Rule(name)
        return None

    def _literal(self) -> Node:
        start = self._at
        self._at += 1
        chars: list[Node] = []
        while self._peek() != '"':
            if not self._peek():
                self._fail("a text that is not closed", start)
            code = self._code_point()
            chars.append(char_set([(code, code)]))
        self._at += 1
        return sequence(chars) if chars else EMPTY

    def _char_class(self) -> Chars:
        start = self._at
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges = []
        while self._peek() != "]":
            if not self._peek():
                self._fail("a character class that is not closed", start)
            ranges.append(self._range())
        self._at += 1
        if not ranges:
            self._fail("an empty character class", start)
        chars = char_set(ranges, negated=negated)
        if not chars.ranges:
            self._fail("a character class that no character is in", start)
        return chars

    def _range(self) -> tuple[int, int]:
        start = self._at
        low = high = self._code_point()
        if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            high = self._code_point()
        if high < low:
            self._fail("a range that ends before it begins", start)
        return low, high

    def _code_point(self) -> int:
        start = self._at
        char = self._text[start]
        self._at += 1
        if char != "\\":
            return self._checked_code_point(ord(char), start)
        kind = self._peek()
        self._at += 1
        if kind in _ESCAPES:
            return ord(_ESCAPES[kind])
        if kind not in _HEX_DIGITS:
            self._fail(f"an unknown escape \\{kind}", start)
        digits = self._text[self._at : self._at + _HEX_DIGITS[kind]]
        if len(digits) < _HEX_DIGITS[kind] or not re.fullmatch(r"[0-9a-fA-F]+", digits):
            self._fail(f"\\{kind} needs {_HEX_DIGITS[kind]} hexadecimal digits", start)
        self._at += len(digits)
        return self._checked_code_point(int(digits, 16), start)

    def _checked_code_point(self, code: int, start: int) -> int:
        if not (0 < code < 0xD800 or 0xE000 <= code <= 0x10FFFF):
            self._fail(f"U+{code:04X} is not a character of a text", start)
        return code

    def _token(self) -> Token:
        start = self._at
        negated = self._peek() == "!"
        self._at += negated
        if self._peek() != "<":
            self._fail("'!' stands before a token only: !<name> or !<[id]>", start)
        end = self._text.find(">", self._at)
        name = self._text[self._at : end + 1]
        if end < 0 or "\n" in name:
            self._fail("a token that is not closed", start)
        self._at = end + 1
        if not name.startswith("<["):
            return Token(name, negated)
        match = re.fullmatch(r"<\[([0-9]{1,10})\]>", name)
        if match is None or int(match[1]) > 0x7FFFFFFF:
            self._fail("a token's id is a whole number: <[id]>", start)
        return Token(int(match[1]), negated)

    def _group(self) -> Node:
        start = self._at
        self._depth += 1
        if self._depth > limits.MAX_GROUP_DEPTH:
            self._fail(f"more than {limits.MAX_GROUP_DEPTH} nested groups")
        self._at += 1
        self._skip(_SPACE_AND_LINES)
        node = self._choice(nested=True)
        if self._peek() != ")":
            self._fail(f"a ')' is missing for the '(' at {self._place(start)}")
        self._at += 1
        self._depth -= 1
        return node

    def _bounds(self, space: re.Pattern[str]) -> tuple[int, int | None] | None:
        """The bounds (least, most) of the repetition operator here; None without an operator."""
        start = self._at
        char = self._peek()
        if char in _REPEATS:
            self._at += 1
            return _REPEATS[char]
        if char != "{":
            return None
        self._at += 1
        self._skip(space)
        least = self._count()
        most: int | None = least
        self._skip(space)
        if self._peek() == ",":
            self._at += 1
            self._skip(space)
            most = self._count() if _NUMBER.match(self._peek()) else None
            self._skip(space)
        self._expect("}")
        if most is not None and most < least:
            self._fail("the most repetitions are fewer than the least", start)
        return least, most

    def _count(self) -> int:
        start = self._at
        digits = self._match(_NUMBER, "a number of repetitions")
        if len(digits) > 9 or int(digits) > limits.MAX_REPETITIONS:
            self._fail(f"more than {limits.MAX_REPETITIONS} repetitions", start)
        return int(digits)

    def _peek(self) -> str:
        """The next character, or an empty text at the end."""
        return self._text[self._at : self._at + 1]

    def _skip(self, space: re.Pattern[str]) -> None:
        match = space.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _expect(self, token: str) -> None:
        if not self._text.startswith(token, self._at):
            self._fail(f"{token!r} is missing")
        self._at += len(token)

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            self._fail(f"expected {what}, found {self._peek()!r}")
        self._at = match.end()
        return match[0]

    def _place(self, at: int) -> str:
        line = bisect_left(self._line_ends, at)
        before = self._line_ends[line - 1] if line else -1
        return f"{line + 1}:{at - before}"

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        raise GrammarError(message, self._place(self._at if at is None else at))
