"""Scores a pair of GGUFs on held-out conversations: `python -m models.train.evaluate`."""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from models.train.cases import TEST_SEED, Case, cases
from models.train.greedy import GreedyModel, accepted_drafts

SCHEMA_ROW = "extraction, valid for its schema"


@dataclass
class Scores:
    """Counts by row of the table, and the failed cases."""

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    drafted: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Case, str]] = field(default_factory=list)

    def share(self, row: str) -> float:
        """The share of right answers of one row."""
        return self.right[row] / self.asked[row]

    @property
    def acceptance(self) -> float:
        """The share of draft tokens that were accepted; long answers and frequent skills count
        most."""
        return sum(self.accepted.values()) / max(1, sum(self.drafted.values()))

    @property
    def mean_acceptance(self) -> float:
        """The mean of the rows' acceptances; each skill counts alike."""
        shares = [self.accepted[row] / drafted for row, drafted in self.drafted.items() if drafted]
        return sum(shares) / max(1, len(shares))

    def table(self) -> str:
        """The scores in Markdown."""
        lines = ["| skill | cases | right | draft acceptance |", "|---|---|---|---|"]
        for row, asked in sorted(self.asked.items()):
            drafted = self.drafted[row]
            agreed = f"{self.accepted[row] / drafted:.1%}" if drafted else "-"
            lines.append(f"| {row} | {asked} | {self.share(row):.1%} | {agreed} |")
        return "\n".join(lines)


def table_row(case: Case) -> str:
    """The case's row; replies after a thought have a separate row."""
    return "any, with thinking" if case.thinking else case.row


def score(target: GreedyModel, chosen: Iterable[Case], draft: GreedyModel | None = None) -> Scores:
    """Run every case on the target, and count the draft model's accepted tokens."""
    scores = Scores()
    for case in chosen:
        row = table_row(case)
        generated = target.generate(case.prompt)
        reply = target.text([token for token in generated if token != target.end])
        scores.asked[row] += 1
        if row == "extraction":
            scores.asked[SCHEMA_ROW] += 1
            scores.right[SCHEMA_ROW] += case.has_valid_shape(reply)
        if case.passed(reply):
            scores.right[row] += 1
        else:
            scores.wrong.append((case, reply))
        if draft is not None:
            accepted, drafted = accepted_drafts(draft, target.tokenize(case.prompt), generated)
            scores.accepted[row] += accepted
            scores.drafted[row] += drafted
    return scores


def first_of_each(chosen: Iterable[Case], count: int, rows: Iterable[str] = ()) -> list[Case]:
    """The first `count` cases of each row; only of `rows`, if given."""
    wanted = set(rows)
    taken: dict[str, list[Case]] = defaultdict(list)
    for case in chosen:
        row = table_row(case)
        if (not wanted or row in wanted) and len(taken[row]) < count:
            taken[row].append(case)
    return [case for row in sorted(taken) for case in taken[row]]


def load_milliseconds(path: Path, runs: int = 5) -> float:
    """The median time of loading the weights and making a context."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        model = GreedyModel(path)
        times.append(time.perf_counter() - started)
        model.llama.close()
    return 1000 * sorted(times)[runs // 2]


def tokens_per_second(model: GreedyModel) -> tuple[float, float]:
    """(prompt, generated) tokens per second."""
    prompt = list(range(300, 812))
    started = time.perf_counter()
    model.next_token(prompt)
    prompt_rate = len(prompt) / (time.perf_counter() - started)
    started = time.perf_counter()
    for _ in range(200):
        prompt.append(model.next_token(prompt))
    return prompt_rate, 200 / (time.perf_counter() - started)


def main() -> None:
    """Print the table, the speed and some errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="of the conversations")
    parser.add_argument("--each", type=int, help="at most so many cases of a row, else all")
    parser.add_argument("--rows", nargs="*", default=[])
    parser.add_argument("--errors", type=int, default=20, help="how many wrong replies to show")
    args = parser.parse_args()
    for path in filter(None, (args.target, args.draft)):
        print(
            f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, "
            f"loads in {load_milliseconds(path):.0f} ms"
        )
    target = GreedyModel(args.target)
    draft = GreedyModel(args.draft) if args.draft else None
    for model in filter(None, (target, draft)):
        print("prompt {:.0f} tok/s, generation {:.0f} tok/s".format(*tokens_per_second(model)))
    everything = list(cases(args.conversations, args.seed))
    chosen = first_of_each(everything, args.each or len(everything), args.rows)
    scores = score(target, chosen, draft)
    print(scores.table())
    if draft:
        print(
            f"draft acceptance {scores.acceptance:.1%} of all drafted tokens, "
            f"{scores.mean_acceptance:.1%} as the mean of the skills"
        )
    for case, reply in scores.wrong[: args.errors]:
        print(
            f"--- {table_row(case)}: {case.prompt[-300:]!r}\n"
            f"  expected {case.expected!r}\n  replied  {reply!r}"
        )


if __name__ == "__main__":
    main()
