"""Grammars in GBNF: sent as a completion's grammar."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place, posted
from loadtests.fuzz.mutation import with_mutations

RULES = 6
WORDS = (
    *(b"::=", b"|", b"(", b")", b"*", b"+", b"?", b"{0,100}", b"{1000}", b"{,}", b"[a-z]", b"[^a]"),
    *(b'"', b'"a"', b"\\x41", b"\\u4e2d", b"\\U0010FFFF", b"root", b"r0", b"\n", b"#", b".", b"-"),
    *(b"<[5]>", b"<|im_end|>", b"!<[5]>", b"[\\]]", b"[z-a]", b"\xff", b"\x00"),
)


@st.composite
def _expression(draw: DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 7 if depth else 2))
    if kind == 0:
        return (
            '"' + draw(st.sampled_from(("", "a", "ab ", "\\n", "\\x00", "\u4e2d", "a" * 300))) + '"'
        )
    if kind == 1:
        return draw(
            st.sampled_from(("[a-z]", "[^a-z]", "[a-zA-Z0-9 ]", "[\\x00-\\x10]", ".", "[ ]"))
        )
    if kind == 2:
        return f"r{draw(st.integers(0, RULES - 1))}"
    inner = [draw(_expression(depth - 1)) for _ in range(draw(st.integers(1, 4)))]
    if kind in (3, 4):
        return " ".join(inner)
    if kind == 5:
        return "(" + " | ".join(inner) + ")"
    times = draw(st.sampled_from(("*", "+", "?", "{2,5}", "{0,400}", "{3,}", "{50}")))
    return f"({inner[0]}){times}"


@st.composite
def _grammar(draw: DrawFn) -> bytes:
    lines = ["root ::= " + draw(_expression())]
    lines += [f"r{number} ::= " + draw(_expression()) for number in range(RULES)]
    return "\n".join(lines).encode()


class Gbnf:
    """Grammars, as `/completion` takes them; a fine one also constrains some tokens."""

    name = "gbnf"
    is_served = True

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Grammars of a few rules, and mutations."""
        return with_mutations(_grammar(), seeds, WORDS)

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Ask for a few tokens that follow the grammar."""
        grammar = data.decode("utf-8", "replace")
        body = {"prompt": "One two", "grammar": grammar, "n_predict": 8, "seed": 1}
        return await posted(place, "/completion", body)
