from __future__ import annotations

import pytest

from grammars import compiler
from grammars.acceptance import accept
from grammars.constraint import GbnfGrammar, LLGuidanceGrammar
from grammars.errors import GrammarError
from grammars.gbnf.nodes import Chars, Choice, Repeat, Rule, Sequence, Token
from grammars.gbnf.parser import parse


class Tokens:
    """A vocabulary with two named tokens."""

    end_tokens = frozenset({7})
    longest_piece = 8

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        assert parse_special
        assert not add_special
        return {"<think>": [5], "</think>": [6]}.get(text, [1, 2])


def definition(text: str) -> str:
    constraint = compiler.from_gbnf(text, Tokens())
    assert isinstance(constraint, LLGuidanceGrammar)
    return constraint.definition


def accepts(text: str, answer: str) -> bool:
    return accept(LLGuidanceGrammar(definition(text)), answer).is_accepted


def chars(text: str) -> tuple[Chars, ...]:
    return tuple(Chars(((ord(char), ord(char)),)) for char in text)


def test_nodes() -> None:
    grammar = parse('root ::= "ab" x | ( [a-c] <[5]> )+ !<t>{2,3} # a comment\nx ::= .?')
    assert grammar.rules["root"] == Choice(
        (
            Sequence((*chars("ab"), Rule("x"))),
            Sequence(
                (
                    Repeat(Sequence((Chars(((97, 99),)), Token(5, False))), 1, None),
                    Repeat(Token("<t>", True), 2, 3),
                )
            ),
        )
    )
    assert grammar.places == {"root": "1:1", "x": "2:1"}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", None, "no rule 'root'"),
        ("x ::= y", "1:7", "'y' is not defined"),
        ('x ::= "a"', None, "no rule 'root'"),
        ('root ::= "a" b', "1:14", "'b' is not defined"),
        ('root ::= "a', "1:10", "not closed"),
        ("root ::= [a", "1:10", "not closed"),
        ("root ::= []", "1:10", "empty character class"),
        ("root ::= [^]", "1:10", "empty character class"),
        ("root ::= [z-a]", "1:11", "ends before it begins"),
        (r'root ::= "\q"', "1:11", r"unknown escape \\q"),
        (r'root ::= "\x1"', "1:11", "2 hexadecimal digits"),
        (r'root ::= "\uD800"', "1:11", r"U\+D800"),
        (r'root ::= "\U00110000"', "1:11", r"U\+110000"),
        ('root ::= ("a"', "1:14", r"'\)' is missing for the '\(' at 1:10"),
        ('root ::= "a")', "1:13", "expected the end of the line"),
        ('root ::= "a"\n | "b"', "2:2", "the name of a rule"),
        ('root ::= * "a"', "1:10", "nothing before the '\\*'"),
        ('root ::= "a"{3,2}', "1:13", "fewer than the least"),
        ('root ::= "a"{x}', "1:14", "a number of repetitions"),
        ('root ::= "a"{1,2', "1:17", "'}' is missing"),
        ('root ::= "a"{99999}', "1:14", "more than 10000 repetitions"),
        ('root ::= "a"\nroot ::= "b"', "2:1", "defined twice"),
        ('root = "a"', "1:6", "'::=' is missing"),
        ('root_x ::= "a"', "1:5", "'::=' is missing"),
        ("root ::= !x", "1:10", "before a token only"),
        ("root ::= <x", "1:10", "not closed"),
        ("root ::= <[x]>", "1:10", "whole number"),
        ('root ::= "a" root', "1:1", "no text ends the rule 'root'"),
        ('root ::= "a" | x\nx ::= "b" y\ny ::= x | x x', "2:1", "no text ends the rule 'x'"),
        ("root ::= " + "(" * 60, "1:60", "nested groups"),
        ('root ::= "\0"', "1:11", "NUL"),
    ],
)
def test_errors_say_where(text: str, place: str | None, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        compiler.from_gbnf(text)
    assert caught.value.path == place


@pytest.mark.parametrize(
    ("text", "accepted", "refused"),
    [
        ('root ::= "a"{2}', ["aa"], ["a", "aaa"]),
        ('root ::= "ab"*', ["", "abab"], ["aba"]),
        ('root ::= "a" {0} "b"', ["b"], ["ab"]),
        ("root ::= [^a-c]", ["d", "\n", "é", "🎉"], ["a", ""]),
        ("root ::= [a\\]\\-]+", ["]-a"], ["\\"]),
        ("root ::= [+--]", ["+", ",", "-"], ["."]),
        ('root ::= "\\x41\\u00e9\\U0001F389"', ["Aé🎉"], ["A"]),
        ("root ::= .", ["a", "\n", "é"], ["", "ab"]),
        ('root ::= | "a"', ["", "a"], ["b"]),
        ('root ::= (\n  "a" # one\n  | "b"\n)\n', ["a", "b"], ["ab"]),
        ('root ::=\n  "a" |\n  "b"', ["a", "b"], []),
        ('root ::= "a" root "b" | ""', ["", "aabb"], ["aab"]),
        ('root ::= root "+" n | n\nn ::= [0-9]', ["1", "1+2+3"], ["1+", "+1"]),
        ('root ::= n "+" root | n\nn ::= [0-9]', ["1", "1+2+3"], ["1+", "+1"]),
        ('root ::= n ("+" root)?\nn ::= [0-9]', ["1", "1+2+3"], ["1+", "+1"]),
        ('root ::= ("a"? "b"?)* "c"', ["c", "abbac"], ["ab"]),
        ('root ::= "a" | "ab" | "abc" "d"?', ["a", "ab", "abcd"], ["abd", "abcdd"]),
        ('root ::= x x\nx ::= [a-z]+ y?\ny ::= "(" root ")"', ["ab", "a(bc)d"], ["a"]),
    ],
)
def test_translation(text: str, accepted: list[str], refused: list[str]) -> None:
    assert [answer for answer in accepted if not accepts(text, answer)] == []
    assert [answer for answer in refused if accepts(text, answer)] == []


def test_long_answers_of_recursive_rules_stay_cheap() -> None:
    text = 'root ::= "[" items "]"\nitems ::= item | item "," items\nitem ::= [0-9] | root'
    assert accepts(text, "[" + "1," * 5000 + "1]")


def test_tokens_by_name_and_id() -> None:
    text = "root ::= <think> !</think>* </think> [a-z]+ <[9]>"
    lark = definition(text)
    assert "<[5]>" in lark
    assert "<[^6,7]>" in lark, "an end token isn't just any other token"
    assert "<[9]>" in lark


def test_a_name_that_is_no_token_is_refused() -> None:
    with pytest.raises(GrammarError, match="<other> is not one token"):
        compiler.from_gbnf("root ::= <other>", Tokens())


def test_named_tokens_are_left_to_llama_without_a_vocabulary() -> None:
    text = 'root ::= <think> "a"'
    assert compiler.from_gbnf(text) == GbnfGrammar(text)
    assert isinstance(compiler.from_gbnf('root ::= <[5]> "a"'), LLGuidanceGrammar)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ('root ::= root "a" | <t>', "left-recursive"),
        ('root ::= x | <t>\nx ::= y? x "a" | "b"\ny ::= "c"', "left-recursive"),
        ('root ::= <t> ("a"?)*', "what may be empty"),
        ('root ::= <t> ("abcdefghij" "k"){999}', "so much so often"),
    ],
)
def test_llama_is_not_given_what_could_hang_it(rules: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        compiler.from_gbnf(rules)


def test_llama_is_not_given_an_exponential_search() -> None:
    chain = "\n".join(f'r{i} ::= r{i + 1} "a" | r{i + 1} "b"' for i in range(40))
    with pytest.raises(GrammarError, match="too many rules begin with others"):
        compiler.from_gbnf(f'root ::= <t> r0\n{chain}\nr40 ::= "c"')
