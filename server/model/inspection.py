"""Opens model files that nobody has checked in a confined process, before this process does."""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confined.child import Child, Died, TooSlow
from protocol.metadata import MetadataOverride
from server.model.gguf_contents import GgufContents
from server.model.gguf_header import GgufError, GgufHeader
from server.startup import VocabularyError

CPU_SECONDS = 30.0
"""CPU time for one header or vocabulary; the largest ones take about a second."""

WALL_SECONDS = 300.0
"""Wall-clock limit, while a slow disk or network delivers the file."""

CHILD_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # a vocabulary needs no GPU, and finding them takes time
    "GGML_NO_BACKTRACE": "1",  # llama.cpp would call a debugger at every crash
}
"""For processes that load a vocabulary."""


class Inspector:
    """The process that opens files; it starts on first use. Thread-safe."""

    def __init__(self) -> None:
        self._child = Child("server.model.inspector", CHILD_ENVIRONMENT)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, and don't wait for it."""
        self._child.start()

    def header(self, path: Path) -> GgufHeader:
        """The file's header, without long texts. Raises `GgufError`."""
        return GgufHeader(**self._head(path, "header"))

    def contents(self, path: Path) -> GgufContents:
        """What the file's head tells people about the model. Raises `GgufError`."""
        return GgufContents(**self._head(path, "contents"))

    def tensors(self, path: Path) -> dict[str, int]:
        """The bytes of each of the file's tensors, by name. Raises `GgufError`."""
        sizes: dict[str, int] = self._head(path, "tensors")["sizes"]
        return sizes

    def check_vocabulary(self, path: Path, overrides: Sequence[MetadataOverride] = ()) -> None:
        """Raise `VocabularyError` if the vocabulary, or texts in it, break a limit or crash.

        `overrides` replace values of the metadata.
        """
        for what, doing in (("vocabulary", "loading it"), ("texts", "splitting texts with it")):
            try:
                self._ask(path, what, overrides)
                continue
            except TooSlow:
                reason = f"takes more than {CPU_SECONDS:g} s"
            except Died:
                reason = "needs too much memory, or crashes llama.cpp"
            raise VocabularyError(f"the vocabulary of {path} can't be used: {doing} {reason}")

    def close(self) -> None:
        """End the process, once it has answered; the next question starts another one."""
        with self._lock:
            self._child.stop()

    def _head(self, path: Path, what: str) -> dict[str, Any]:
        try:
            answer = self._ask(path, what)
        except TooSlow:
            raise GgufError(f"has a header that takes more than {CPU_SECONDS:g} s") from None
        except Died:
            raise GgufError("has a header that needs too much memory, or can't be read") from None
        if "error" in answer:
            raise GgufError(answer["error"])
        return answer

    def _ask(
        self, path: Path, what: str, overrides: Sequence[MetadataOverride] = ()
    ) -> dict[str, Any]:
        asked = {"path": str(path), "what": what, "overrides": list(overrides)}
        question = json.dumps(asked).encode()
        with self._lock:
            answer = self._child.ask(question, cpu_seconds=CPU_SECONDS, wall_seconds=WALL_SECONDS)
        content: dict[str, Any] = json.loads(answer)
        return content


inspector = Inspector()
"""The inspector of this process; the start of a server closes it."""

atexit.register(inspector.close)
