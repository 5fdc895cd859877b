"""The subcommand `llamapack grammar`: lists the shipped grammars and checks grammars and texts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grammars import compiler, library
from grammars.acceptance import Acceptance, accept
from grammars.constraint import Constraint, LLGuidanceGrammar
from grammars.errors import GrammarError

EXIT_ACCEPTED = 0
EXIT_REFUSED = 1
"""Exit code when the grammar is valid and the text doesn't satisfy it."""
EXIT_WRONG = 2
"""Exit code when the grammar is invalid or unreadable; argparse uses the same code for wrong usage.
"""


def run(argv: Sequence[str]) -> int:
    """Run the subcommand with its own arguments and return the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.action == "list":
        return _list()
    return _check(arguments.grammar, _text(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llamapack grammar", description="List and check grammars that constrain answers."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="the grammars that a request may name")
    check = actions.add_parser(
        "check",
        help="whether a grammar is right, and whether it accepts a text",
        description="Exits with 0 if all is well, 1 if the text is refused, 2 if the grammar is "
        "wrong.",
    )
    check.add_argument(
        "grammar",
        help="a file (.gbnf; .lark; .json for a JSON Schema), or a name of `grammar list`",
    )
    text = check.add_mutually_exclusive_group()
    text.add_argument("--text", help="the text to match")
    text.add_argument("--text-file", type=Path, help="a file with the text to match, or - ")
    return parser


def _text(arguments: argparse.Namespace) -> str | None:
    if arguments.text_file is None:
        text: str | None = arguments.text
        return text
    if str(arguments.text_file) == "-":
        return sys.stdin.read()
    content: str = arguments.text_file.read_text("utf-8")
    return content


def _list() -> int:
    grammars = library.shipped()
    width = max(map(len, grammars))
    for name, grammar in grammars.items():
        print(f"{name:{width}}  {grammar.summary}")
    return EXIT_ACCEPTED


def _check(source: str, text: str | None) -> int:
    try:
        constraint = _load(source)
        if text is None:
            print(f"{source}: the grammar is right")
            return EXIT_ACCEPTED
        if not isinstance(constraint, LLGuidanceGrammar):
            print(f"{source}: it names tokens, so checking a text takes a model's vocabulary")
            return EXIT_WRONG
        return _report(accept(constraint, text), text)
    except GrammarError as error:
        place = f":{error.path}" if error.path else ""
        print(f"{source}{place}: {error.message}", file=sys.stderr)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        print(f"{source}: {error}", file=sys.stderr)
    return EXIT_WRONG


def _load(source: str) -> Constraint:
    """Load a grammar file by its suffix, or a shipped grammar by its name."""
    path = Path(source)
    if not path.exists() and not path.suffix:
        return compiler.named(source)
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        return compiler.from_json_schema(json.loads(text))
    if path.suffix == ".lark":
        return compiler.from_lark(text)
    return compiler.from_gbnf(text)


def _report(acceptance: Acceptance, text: str) -> int:
    if acceptance.is_accepted:
        print("the text is accepted")
        return EXIT_ACCEPTED
    following = list(acceptance.following) + ["the end"] * acceptance.may_end
    found = repr(text[acceptance.end]) if acceptance.end < len(text) else "the end of the text"
    print(f"{acceptance.place}: {found} is refused; possible: {', '.join(following)}")
    return EXIT_REFUSED
