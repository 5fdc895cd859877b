"""The rest: verdicts that stay, triggers within tokens, damaged files, aborts, many answers."""

from __future__ import annotations

import asyncio
import signal
import struct

import psutil

from loadtests.harness.subject import api_process, engine_of
from loadtests.trials.attacks.attack import (
    CHAT,
    NATIVE,
    Attack,
    Run,
    Target,
    chat,
    completion,
    posts,
    schema_chat,
)
from loadtests.trials.attacks.starting import ended
from loadtests.trials.attacks.work import chain, many_properties

NUMBER = 13


async def _verdicts(target: Target) -> None:
    """What was refused for want of time is accepted when there is time."""
    schemas = [{**many_properties(600), "title": f"verdict {number}"} for number in range(12)]
    bodies = [schema_chat(schema) for schema in schemas]
    await asyncio.gather(*(target.post(CHAT, body, timeout_s=60.0) for body in bodies))
    await asyncio.sleep(1)
    for body in bodies[:3]:
        reply = await target.post(CHAT, body, timeout_s=60.0)
        target.claim(reply.status == 200, f"a fine schema is told {reply.status} {reply.body!r}")


TRIGGERS = ("a", "s a", "ab", "e", " t", "er", "\u00e9", "<", "on", "he ")


async def _triggers(target: Target) -> None:
    """Grammars that begin within a token of the answer."""
    for word in TRIGGERS:
        body = completion(
            grammar=f'root ::= "{word}" [a-z ]*',
            grammar_lazy=True,
            grammar_triggers=[{"type": 1, "value": word}],
            n_predict=100,
            temperature=2.0,
            ignore_eos=True,
            seed=1,
        )
        await target.together(4, NATIVE, body)


def _gguf(count: int, key: bytes, kind: int, value: bytes, version: int = 3) -> bytes:
    """The head of a GGUF file with one metadata pair that is announced `count` times."""
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
    return b"GGUF" + struct.pack("<IQQ", version, 0, count) + pair


_ARRAY = struct.pack("<IQ", 9, 1)
_LONG = struct.pack("<Q", 2**63)

FILES = {
    "arrays in arrays": _gguf(1, b"k", 9, _ARRAY * 100_000),
    "a text longer than memory": _gguf(1, b"general.name", 8, _LONG),
    "an array longer than memory": _gguf(
        1, b"tokenizer.ggml.tokens", 9, struct.pack("<I", 8) + _LONG
    ),
    "pairs without end": _gguf(2**40, b"k", 4, bytes(4)),
    "an unknown type": _gguf(1, b"k", 77, bytes(8)),
    "a key longer than memory": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _LONG,
    "nothing": b"",
    "another version": _gguf(1, b"k", 4, bytes(4), version=99),
}


def _damaged(name: str) -> Run:
    """A model file that ends the start with one line."""

    async def run(target: Target) -> None:
        path = target.folder / "hostile.gguf"
        path.write_bytes(FILES[name])
        status, text = await ended("-m", str(path))
        target.claim(status == 1, f"the start ended with {status}: {text[-300:]}")
        target.claim("Traceback" not in text, f"a traceback: {text[-300:]}")
        target.claim("hostile.gguf" in text, f"the file isn't named: {text[-300:]}")

    return run


async def _aborted(target: Target) -> None:
    """The engine aborts; nobody starts a debugger."""
    engine = engine_of(target.server)
    assert engine is not None
    environment = engine.environ()
    target.claim("GGML_NO_BACKTRACE" in environment, "ggml would start a debugger")
    engine.send_signal(signal.SIGABRT)
    for _ in range(20):
        with_names = api_process(target.server).children(recursive=True)
        names = []
        for process in with_names:
            try:
                names.append(process.name())
            except psutil.Error:
                continue
        target.claim("gdb" not in names and "lldb" not in names, f"children: {names}")
        await asyncio.sleep(0.1)


ATTACKS = (
    Attack(NUMBER, "verdicts under load", _verdicts),
    Attack(NUMBER, "triggers within tokens", _triggers),
    *(Attack(NUMBER, f"a file with {name}", _damaged(name)) for name in FILES),
    Attack(NUMBER, "the engine aborts", _aborted, restarts=1, is_outage=True),
    Attack(
        NUMBER,
        "128 answers without end",
        posts(CHAT, chat(n=128, max_tokens=None, ignore_eos=True), 2),
    ),
    Attack(
        NUMBER,
        "128 chained schemas in turn",
        posts(CHAT, {**schema_chat(chain(50)), "n": 128, "ignore_eos": True}, 2),
    ),
)
