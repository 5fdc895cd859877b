"""Compares the tokens of both servers at temperature 0: `python -m loadtests.parity --help`.

Only rounding can change a greedy answer. So equal prompts must give equal tokens, both one request
at a time and with every slot busy. Flash attention rounds in another way. So both servers run with
`-fa on`, and again with `-fa off`. A third run of llama-server, without flash attention and with a
cache of 32-bit floats, tells which of the two is nearer.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.greedy import QUESTIONS, Answer, Answers, ask
from loadtests.harness.servers import Side

FLASH = ("on", "off")
F32_CACHE = ("-fa", "off", "-ctk", "f32", "-ctv", "f32")


@dataclass(frozen=True)
class Difference:
    """The first place where two answers to one question have different tokens."""

    question: int
    at: int
    expected: Answer
    given: Answer

    def gap(self, answer: Answer) -> float | None:
        """How much likelier the server of an answer finds its own token than the other's.

        Infinite if the other's isn't among the likeliest. None if the answer has no place there.
        """
        rival = self._rival(answer)
        if self.at >= len(answer.places) or rival is None:
            return None
        place = answer.places[self.at]
        return place.logprob - place.top.get(rival, -math.inf)

    def is_tie(self, limit: float) -> bool:
        """Whether the servers find the two tokens equally likely, within `limit`."""
        gaps = [self.gap(answer) for answer in (self.expected, self.given)]
        known = [gap for gap in gaps if gap is not None]
        return bool(known) and max(known) <= limit

    def lines(self, expected: str, given: str) -> list[str]:
        """The difference in words, with the names of both sides."""
        lines = [f"{QUESTIONS[self.question]!r} differs at token {self.at}:"]
        for side, answer in ((expected, self.expected), (given, self.given)):
            lines.append(f"  {side}: {answer.text!r}")
            if self.gap(answer) is not None:
                lines.append(f"    {self._likeliest(answer)}")
        return lines

    def _rival(self, answer: Answer) -> int | None:
        other = self.given if answer is self.expected else self.expected
        return other.tokens[self.at] if self.at < len(other.tokens) else None

    def _likeliest(self, answer: Answer) -> str:
        place, rival = answer.places[self.at], self._rival(answer)
        known = place.top.get(-1 if rival is None else rival)
        other = "less likely" if known is None else f"{known:.5f}"
        return f"log-probability of token {place.token}: {place.logprob:.5f}, of {rival}: {other}"


def differences(expected: Sequence[Answer], given: Sequence[Answer]) -> list[Difference]:
    """The answers that differ, each with the first place."""
    found = []
    for question, (want, got) in enumerate(zip(expected, given, strict=True)):
        at = num_equal(want, got)
        if want.tokens != got.tokens:
            found.append(Difference(question, at, want, got))
    return found


def num_equal(a: Answer, b: Answer) -> int:
    """How many tokens two answers have in common from the first on."""
    pairs = enumerate(zip(a.tokens, b.tokens, strict=False))
    shorter = min(len(a.tokens), len(b.tokens))
    return next((i for i, (x, y) in pairs if x != y), shorter)


def gaps_in_logprob(a: Sequence[Answer], b: Sequence[Answer]) -> list[float]:
    """How much the log-probabilities of the tokens differ that both sides chose."""
    return [
        abs(x.logprob - y.logprob)
        for want, got in zip(a, b, strict=True)
        for x, y in zip(want.places, got.places[: num_equal(want, got)], strict=False)
    ]


def distances(
    reference: Sequence[Answer], given: Mapping[str, Sequence[Answer]]
) -> dict[str, list[float]]:
    """How far the log-probabilities of each set of answers are from a reference's.

    Only tokens count up to which all sets agree with the reference.
    """
    found: dict[str, list[float]] = {name: [] for name in given}
    for question, want in enumerate(reference):
        sets = {name: answers[question] for name, answers in given.items()}
        shared = min(num_equal(want, answer) for answer in sets.values())
        for name, answer in sets.items():
            pairs = zip(want.places[:shared], answer.places[:shared], strict=False)
            found[name] += [abs(x.logprob - y.logprob) for x, y in pairs]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all answers are equal but for near ties, otherwise 1."""
    options = _parser().parse_args(arguments)
    ours = Side("llamapack", (str(Path(sys.executable).with_name("llamapack")), "serve"))
    peer = Side("llama-server", (str(options.peer),))
    reference = _run(peer, options, *F32_CACHE, model=options.reference or options.model)
    num_wrong, answers = 0, {}
    for flash in FLASH:
        expected = _run(peer, options, "-fa", flash)
        given = _run(ours, options, "-fa", flash)
        print(f"-fa {flash}, against llama-server's answers to one question at a time:")
        num_wrong += _compare("llamapack, alone", expected.alone, given.alone, options.tie)
        num_wrong += _compare("llamapack, busy", expected.alone, given.busy, options.tie)
        _compare("llama-server, busy", expected.alone, expected.busy, options.tie)
        answers[flash] = given.alone
    _tell_the_nearer(distances(reference.alone, answers))
    return 1 if num_wrong else 0


def _tell_the_nearer(found: Mapping[str, Sequence[float]]) -> None:
    means = {flash: sum(gaps) / max(1, len(gaps)) for flash, gaps in found.items()}
    count = max(map(len, found.values()))
    told = ", ".join(f"-fa {flash}: {mean:.5f}" for flash, mean in means.items())
    print(f"mean distance of {count} log-probabilities from the f32 reference: {told}")
    print(f"nearer to the reference: -fa {min(means, key=means.__getitem__)}")


def _compare(way: str, expected: Sequence[Answer], given: Sequence[Answer], tie: float) -> int:
    """Print the comparison; return how many answers differ by more than a near tie."""
    found = differences(expected, given)
    ties = [difference for difference in found if difference.is_tie(tie)]
    num_equal = len(given) - len(found)
    most = max(gaps_in_logprob(expected, given), default=0.0)
    print(
        f"  {way}: {num_equal} of {len(given)} equal, {len(ties)} near ties, "
        f"log-probabilities differ by up to {most:.5f}"
    )
    for difference in found:
        lines = difference.lines("llama-server, alone", way)
        print("\n".join(f"    {line}" for line in lines))
    return len(found) - len(ties)


def _run(
    side: Side, options: argparse.Namespace, *flags: str, model: Path | None = None
) -> Answers:
    sizes = ("-c", str(options.slots * 2048), "-np", str(options.slots))
    threads = ("-t", str(options.threads), "-tb", str(options.threads))
    running = ask(
        side,
        ["-m", str(model or options.model), *sizes, *threads, *flags],
        num_questions=options.questions,
        num_tokens=options.tokens,
        num_slots=options.slots,
    )
    return asyncio.run(running)


def _parser() -> argparse.ArgumentParser:
    demo = Path(__file__).parents[1] / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.parity", description=__doc__)
    add = parser.add_argument
    add("--peer", type=Path, required=True, help="path of llama-server")
    add("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    add("--reference", type=Path, help="GGUF of the f32 reference (default: the model)")
    add("--slots", type=int, default=8, help="slots of both servers (default: 8)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--tokens", type=int, default=128, help="longest answer (default: 128)")
    everything = len(QUESTIONS)
    add("--questions", type=int, default=everything, help=f"how many (default: {everything})")
    add("--tie", type=float, default=0.01, help="log-probability apart in a tie (default: 0.01)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
