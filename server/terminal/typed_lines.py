"""Reads what a user types: one line, or several between triple quotes or after backslashes.

Lines are edited with the standard library's readline, where Python has it: history, search and
keys are those that the user's other programs have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FIRST, NEXT = ">>> ", "... "
QUOTES = '"""'
MOST_LINES = 2000
"""Lines that the history keeps."""

_Ask = Callable[[str], str]


class TypedLines:
    """Texts that a user types, one after the other."""

    def __init__(self, ask: _Ask = input) -> None:
        """`ask` shows a prompt and returns a line, as `input` does."""
        self._ask = ask

    def read(self) -> str:
        """The next text. Raises `EOFError` at the end, and `KeyboardInterrupt` for Ctrl-C."""
        line = self._ask(FIRST)
        if line.lstrip().startswith(QUOTES):
            return self._quoted(line.lstrip().removeprefix(QUOTES))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._ask(NEXT))
        return "\n".join(lines)

    def _quoted(self, line: str) -> str:
        lines = [line]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(self._ask(NEXT))
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        return "\n".join(lines).strip("\n")


def history_file(environ: Mapping[str, str]) -> Path:
    """The file with what was typed before, in the user's folder for such things."""
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "llamapack" / "run_history"


def set_up_readline(history: Path, words: Sequence[str]) -> Callable[[], None]:
    """Read the history, and complete these words. Returns what keeps the history at the end."""
    try:
        import readline
    except ImportError:  # a Python without it: lines are typed as the terminal edits them
        return lambda: None
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(MOST_LINES)
    readline.set_completer_delims(" \n")
    readline.set_completer(_completer(words))
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def keep() -> None:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            # What a user says to a model is nobody else's.
            os.close(os.open(history, os.O_WRONLY | os.O_CREAT, 0o600))
            readline.write_history_file(history)

    return keep


def _completer(words: Sequence[str]) -> Callable[[str, int], str | None]:
    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if text and word.startswith(text)]
        return found[state] if state < len(found) else None

    return complete
