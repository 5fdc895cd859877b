"""Heads of model files: a tiny model with changed bytes, opened in the confined inspector."""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loadtests.fuzz.family import Outcome, Place
from server.model.gguf_header import GgufError
from server.model.inspection import CPU_SECONDS, inspector
from server.startup import VocabularyError
from tests.support.tiny_models import single_layer

MOST_SECONDS = 3 * CPU_SECONDS
NUMBERS = (0, 1, 2, 8, 9, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
Changes = dict[str, Any]
"""`at`: pairs of a place and bytes as hexadecimal text; `cut`: the length of the file."""


@cache
def tiny_model() -> bytes:
    """A model of some hundred kB; its head and its vocabulary come first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        single_layer(path)
        return path.read_bytes()


@cache
def head_size() -> int:
    """Bytes before the weights, roughly: where the last tensor's name ends."""
    return tiny_model().rfind(b".weight") + 64


def changed(data: bytes) -> bytes:
    """The file that an input describes; the input is JSON, so that it is small."""
    try:
        changes: Changes = json.loads(data)
        file = bytearray(tiny_model()[: int(changes.get("cut", 1 << 30))])
        for place, text in changes.get("at", ()):
            piece = bytes.fromhex(text)
            file[place : place + len(piece)] = piece
    except (ValueError, TypeError, AttributeError):
        return data
    return bytes(file)


def _piece() -> SearchStrategy[bytes]:
    number = st.sampled_from(NUMBERS)
    return st.one_of(
        number.map(lambda n: struct.pack("<Q", n)),
        number.map(lambda n: struct.pack("<I", n & 0xFFFFFFFF)),
        st.integers(0, 13).map(lambda n: struct.pack("<I", n)),
        st.binary(min_size=1, max_size=8),
        st.sampled_from((b"gpt2", b"llama", b"bert", b"\xff\xff", b"{{ x }}", b"\x00" * 8)),
    )


@st.composite
def _changes(draw: DrawFn) -> bytes:
    changes: Changes = {"at": []}
    for _ in range(draw(st.integers(1, 4))):
        # Numbers and lengths stand before texts, so places near known names are the best ones.
        place = draw(st.one_of(st.integers(0, 400), st.integers(0, head_size())))
        changes["at"].append([place, draw(_piece()).hex()])
    if draw(st.integers(0, 9)) == 0:
        changes["cut"] = draw(st.integers(0, head_size()))
    return json.dumps(changes).encode()


@st.composite
def _combined(draw: DrawFn, seeds: Sequence[bytes]) -> bytes:
    """The changes of two inputs."""
    both = [json.loads(draw(st.sampled_from(seeds))), json.loads(draw(_changes()))]
    return json.dumps({"at": [*both[0].get("at", ()), *both[1].get("at", ())]}).encode()


class GgufHeads:
    """Model files; refusals are in order, everything else is a fault."""

    name = "gguf"
    is_served = False

    def strategy(self, place: Place, seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        """Changes of the tiny model, and further changes of kept ones."""
        kept = [seed for seed in seeds if seed.startswith(b"{")]
        return st.one_of(_changes(), _combined(kept)) if kept else _changes()

    async def attempt(self, data: bytes, place: Place) -> Outcome:
        """Open the file as the start of a server does."""
        path = place.folder / "fuzzed.gguf"
        path.write_bytes(changed(data))
        begun = time.perf_counter()
        shape, fault = await asyncio.to_thread(_inspected, path)
        seconds = time.perf_counter() - begun
        if seconds > MOST_SECONDS:
            fault = f"took {seconds:.0f} s"
        return Outcome(shape, seconds, fault)


def _inspected(path: Path) -> tuple[str, str]:
    try:
        inspector.header(path)
        inspector.check_vocabulary(path)
    except (GgufError, VocabularyError) as refusal:
        text = "".join("N" if c.isdigit() else c for c in str(refusal))
        return f"{type(refusal).__name__} {text.replace(str(path), '')[:60]}", ""
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}"
    return "a model", ""
