"""Compares the tokens of both servers at temperature 0: `python -m loadtests.parity --help`.

Only rounding can change a greedy answer. So equal prompts must give equal tokens, both one request
at a time and with every slot busy.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loadtests.servers import Side, running

QUESTIONS = (
    "What is the capital of France?",
    "Which country has the capital Oslo?",
    "What is the capital of Japan?",
    "Hello!",
    "Who are you?",
    "What is 17 plus 25?",
    "What is 61 minus 38?",
    "What is 8 + 9?",
    "Which day comes after Tuesday?",
    "Which month comes before June?",
    "How many minutes are in 3 hours?",
    "Count from 1 to 12.",
    "Tell me a short story.",
    "Tell me a story about a fox.",
    "Tell me a long story about a sailor and a storm.",
    "Repeat: the quick brown fox jumps over the lazy dog",
    "What is the weight of the moon?",
    "Who won the football match yesterday?",
    "What is the capital of Atlantis?",
    "Thanks, goodbye!",
    "How many days are in a week?",
    "What is 90 minus 45?",
    "Is Rome the capital of Italy?",
    "Name the capital of Brazil.",
)


@dataclass(frozen=True)
class Answer:
    """One answer as tokens and as text."""

    tokens: tuple[int, ...]
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all answers are equal, otherwise 1."""
    options = _parser().parse_args(arguments)
    flags = ("-m", str(options.model), "-c", str(options.slots * 2048), "-np", str(options.slots))
    threads = ("-t", str(options.threads), "-tb", str(options.threads))
    ours = Side("llamapack", (str(Path(sys.executable).with_name("llamapack")), "serve"))
    peer = Side("llama-server", (str(options.peer),))
    expected = asyncio.run(_ask_all(peer, [*flags, *threads], options))
    given = asyncio.run(_ask_all(ours, [*flags, *threads], options))
    differing = 0
    for way, answers in given.items():
        equal = sum(a == b for a, b in zip(expected["alone"], answers, strict=True))
        differing += len(answers) - equal
        print(f"{way}: {equal} of {len(answers)} answers equal llama-server's, given alone")
        _explain(expected["alone"], answers)
    return 1 if differing else 0


def _explain(expected: Sequence[Answer], given: Sequence[Answer]) -> None:
    for index, (want, got) in enumerate(zip(expected, given, strict=True)):
        if want != got:
            pairs = zip(want.tokens, got.tokens, strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a != b), -1)
            print(f"  {QUESTIONS[index]!r} differs at token {at}:")
            print(f"    llama-server: {want.text!r}\n    llamapack:    {got.text!r}")


async def _ask_all(
    side: Side, flags: Sequence[str], options: argparse.Namespace
) -> dict[str, list[Answer]]:
    """Ask every question alone, and again with all slots busy."""
    with running(side, list(flags)) as server:
        await server.wait_ready()
        base = f"http://{server.address}"
        async with httpx.AsyncClient(base_url=base, timeout=600) as client:
            alone = [await _ask(client, question, options.tokens) for question in QUESTIONS]
            gate = asyncio.Semaphore(options.slots)
            crowd = [_ask(client, question, options.tokens, gate) for question in QUESTIONS]
            return {"alone": alone, "all slots busy": list(await asyncio.gather(*crowd))}


async def _ask(
    client: httpx.AsyncClient, question: str, limit: int, gate: asyncio.Semaphore | None = None
) -> Answer:
    async with gate or asyncio.Semaphore():
        messages = [{"role": "user", "content": question}]
        prompt = (await _post(client, "/apply-template", {"messages": messages}))["prompt"]
        body = {"prompt": prompt, "temperature": 0, "n_predict": limit, "return_tokens": True}
        answer = await _post(client, "/completion", body)
        return Answer(tuple(answer["tokens"]), answer["content"])


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _parser() -> argparse.ArgumentParser:
    demo = Path(__file__).parents[1] / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.parity", description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="path of llama-server")
    parser.add_argument("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    parser.add_argument("--slots", type=int, default=8, help="slots of both servers (default: 8)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--tokens", type=int, default=128, help="longest answer (default: 128)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
