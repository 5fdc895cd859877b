"""Checks untrusted grammars in a confined process.

llguidance bounds most of its work, but not all of it. Some schemas take minutes and gigabytes, and
deep schemas overflow the stack and end the process. That must not be the server's process.
"""

from __future__ import annotations

import atexit
import hashlib
from collections import OrderedDict
from threading import Lock

from confined.child import Child, Died, TooSlow
from grammars import limits
from grammars.checker import GENERATED, WRITTEN
from grammars.errors import GrammarError

_MAX_VERDICTS = 4096


class Sandbox:
    """One checker process, which starts on first use and restarts after its death.

    The sandbox remembers its last verdicts. Bad verdicts matter most, because they may have taken
    seconds.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._verdicts: OrderedDict[bytes, str] = OrderedDict()
        """By the definition's hash: the reason why it can't be used, or an empty text."""
        self._checker = Child("grammars.checker")

    def start(self) -> None:
        """Start the process now, so that the first check needn't wait for its start."""
        with self._lock:
            self._checker.start()

    def check(self, definition: str, *, is_written: bool = False) -> None:
        """Raise `GrammarError` if llguidance can't use `definition` within the limits.

        `is_written` says that a client wrote the rules. The call blocks. Checks run one after the
        other.
        """
        question = (WRITTEN if is_written else GENERATED) + definition.encode()
        key = hashlib.sha256(question).digest()
        with self._lock:
            reason = self._verdicts.pop(key, None)
            if reason is None:
                reason = self._ask(question)
            self._verdicts[key] = reason
            if len(self._verdicts) > _MAX_VERDICTS:
                self._verdicts.popitem(last=False)
        if reason:
            raise GrammarError(reason)

    def close(self) -> None:
        """End the process."""
        self._checker.close()

    def _ask(self, question: bytes) -> str:
        try:
            return self._checker.ask(
                question,
                cpu_seconds=limits.MAX_CHECK_SECONDS,
                wall_seconds=limits.MAX_CHECK_WAIT_SECONDS,
            ).decode()
        except TooSlow:
            return f"the grammar takes more than {limits.MAX_CHECK_SECONDS} s to build"
        except Died:
            return "the grammar takes too much memory, or is nested too deeply, to build"


sandbox = Sandbox()
"""The sandbox of this process."""

atexit.register(sandbox.close)
