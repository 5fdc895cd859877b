"""Translates GBNF into llguidance's dialect of Lark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Protocol

from grammars import limits
from grammars.errors import GrammarError
from grammars.gbnf.facts import endless, reachable, regular_rules, unroll_recursion
from grammars.gbnf.lexemes import plan_lexemes
from grammars.gbnf.nodes import Chars, Choice, Lexeme, Node, Repeat, Rule, Sequence, Token, walk
from grammars.gbnf.parser import Grammar


class GrammarTokens(Protocol):
    """What the translation of tokens in a grammar needs from a vocabulary."""

    @property
    def end_tokens(self) -> Set[int]:
        """The tokens that end a generation."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Split a text into tokens; `parse_special` reads control tokens that are spelled in the
        text."""
        ...


def check(grammar: Grammar) -> list[str]:
    """Refuse rules that never end; return the names of the rules in use, references first."""
    order = reachable(grammar.rules)
    wrong = endless(grammar.rules, order)
    for name in grammar.rules:
        if name in wrong:
            raise GrammarError(f"no text ends the rule {name!r}", grammar.places[name])
    return order


def uses_vocabulary(grammar: Grammar, names: list[str]) -> bool:
    """Whether a rule names a token, or excludes one: both depend on the vocabulary."""
    nodes = (node for name in names for node in walk(grammar.rules[name]))
    return any(isinstance(n, Token) and (n.negated or isinstance(n.token, str)) for n in nodes)


def named_tokens(grammar: Grammar, names: list[str]) -> set[str]:
    """The names of the tokens in these rules."""
    nodes = (node for name in names for node in walk(grammar.rules[name]))
    return {n.token for n in nodes if isinstance(n, Token) and isinstance(n.token, str)}


def to_lark(grammar: Grammar, tokens: GrammarTokens | None) -> str:
    """Return a Lark grammar that accepts the same texts.

    A grammar for which `uses_vocabulary` holds needs `tokens`. Raises `GrammarError`.
    """
    order = check(grammar)
    rules = {name: unroll_recursion(name, grammar.rules[name]) for name in order}
    order = reachable(rules)
    regular = regular_rules(rules, order, limits.MAX_LEXEME_NODES)
    plan = plan_lexemes(rules, order, regular)
    return _Writer(rules, plan, _TokenWriter(tokens)).lark()


class _TokenWriter:
    """Writes tokens in Lark's notation."""

    def __init__(self, tokens: GrammarTokens | None) -> None:
        self._tokens = tokens

    def __call__(self, token: Token) -> str:
        token_id = self._id(token.token)
        if not token.negated:
            return f"<[{token_id}]>"
        assert self._tokens is not None
        # An end token always ends the answer, so "any other token" can't mean an end token.
        excluded = sorted({token_id, *self._tokens.end_tokens})
        return f"<[^{','.join(map(str, excluded))}]>"

    def _id(self, token: int | str) -> int:
        if isinstance(token, int):
            return token
        assert self._tokens is not None
        token_ids = self._tokens.tokenize(token, add_special=False, parse_special=True)
        if len(token_ids) != 1:
            raise GrammarError(f"{token} is not one token of this model's vocabulary")
        return token_ids[0]


class _Writer:
    """Writes a planned grammar. Rules are named r0, r1, ..., terminals T0, T1, ...

    Lark tells rules from terminals by letter case. A terminal that a rule uses gets an automaton of
    its own.
    """

    def __init__(
        self,
        rules: Mapping[str, Node],
        plan: Mapping[str, Node],
        write_token: Callable[[Token], str],
    ) -> None:
        self._rules = rules
        self._plan = plan
        self._write_token = write_token
        self._rule_names = {name: f"r{i}" for i, name in enumerate(plan)}
        self._terminals: dict[Node, str] = {}

    def lark(self) -> str:
        """The whole grammar."""
        lines = [f"start: {self._rule_names['root']}"]
        for name, node in self._plan.items():
            lines.append(f"{self._rule_names[name]}: {_text(node, self._in_rule)}")
        todo = list(self._terminals)
        for node in todo:  # writing a node may add others
            body = self._rules[node.name] if isinstance(node, Rule) else node
            lines.append(f"{self._terminals[node]}: {_text(body, self._in_terminal)}")
            todo.extend(list(self._terminals)[len(todo) :])
        return "\n".join(lines) + "\n"

    def _in_rule(self, node: Node) -> str:
        match node:
            case Rule(name):
                return self._rule_names[name]
            case Lexeme(inner):
                return _chars(inner) if isinstance(inner, Chars) else self._terminal(inner)
            case Token():
                return self._write_token(node)
            case _:
                raise AssertionError(f"not planned: {node}")

    def _in_terminal(self, node: Node) -> str:
        match node:
            case Rule():
                return self._terminal(node)
            case Chars():
                return _chars(node)
            case _:
                raise AssertionError(f"not regular: {node}")

    def _terminal(self, node: Node) -> str:
        return self._terminals.setdefault(node, f"T{len(self._terminals)}")


def _text(node: Node, leaf: Callable[[Node], str]) -> str:
    """A node in Lark's notation; `leaf` writes nodes without children."""
    match node:
        case Sequence(()) | Repeat(_, _, 0):
            return '""'
        case Sequence(items):
            return "(" + " ".join(_text(item, leaf) for item in items) + ")"
        case Choice(options):
            return "(" + " | ".join(_text(option, leaf) for option in options) + ")"
        case Repeat(item, least, most):
            return f"({_text(item, leaf)}){_bounds(least, most)}"
        case _:
            return leaf(node)


def _bounds(least: int, most: int | None) -> str:
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    return short.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _chars(chars: Chars) -> str:
    """A character class in Lark, with characters as numbers, so that none needs escaping."""
    ranges = (
        f"{_char(low)}-{_char(high)}" if low < high else _char(low) for low, high in chars.ranges
    )
    return f"/[{''.join(ranges)}]/"


def _char(code_point: int) -> str:
    return f"\\x{{{code_point:X}}}"
