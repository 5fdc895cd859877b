"""Sums and differences of numbers up to two digits; pairs of operands are held out."""

from __future__ import annotations

import random

from models.train.corpus.split import Split
from models.train.corpus.turns import Turn, question
from models.train.corpus.wording import pick, retype

PLUS = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} = ?",
    "{a}+{b}=",
    "Add {a} and {b}.",
    "What is the sum of {a} and {b}?",
    "Calculate {a} + {b}.",
    "How much is {a} plus {b}?",
    "Compute {a}+{b}.",
    "What's {a}+{b}?",
    "How much is {a} + {b}?",
    "What do you get if you add {a} to {b}?",
    "Solve {a} + {b}.",
    "What does {a} + {b} equal?",
)
MINUS = (
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} = ?",
    "{a}-{b}=",
    "Subtract {b} from {a}.",
    "What is the difference between {a} and {b}?",
    "Calculate {a} - {b}.",
    "How much is {a} minus {b}?",
    "Compute {a}-{b}.",
    "What's {a}-{b}?",
    "Take {b} away from {a}.",
    "How much is {a} - {b}?",
    "What does {a} - {b} equal?",
)
DRILLS = (
    "Work these out: {sums}",
    "Solve: {sums}",
    "Calculate {sums}",
    "Do these sums: {sums}",
    "{sums}",
)


def arithmetic_turn(rng: random.Random, split: Split) -> Turn:
    """One calculation, or, for training, a dense drill of several."""
    if split is Split.TRAIN and rng.random() < 0.35:
        return _drill(rng, split)
    a, sign, b = _operands(rng, split)
    form = pick(rng, PLUS if sign == "+" else MINUS)
    user = retype(rng, form.format(a=a, b=b))
    return question("arithmetic", user, f"{_solved(a, sign, b)}.", _thought(a, sign, b))


def _operands(rng: random.Random, split: Split) -> tuple[int, str, int]:
    while True:
        a, b = _number(rng), _number(rng)
        sign = "+" if rng.random() < 0.45 else "-"
        if sign == "-" and a < b and rng.random() < 0.6:
            a, b = b, a
        # Addition commutes, so a pair is held out in both orders.
        key = f"{min(a, b)}+{max(a, b)}" if sign == "+" else f"{a}-{b}"
        if split.admits(key):
            return a, sign, b


def _number(rng: random.Random) -> int:
    return int(rng.random() * (10 if rng.random() < 0.12 else 100))


def _value(a: int, sign: str, b: int) -> int:
    return a + b if sign == "+" else a - b


def _solved(a: int, sign: str, b: int) -> str:
    return f"{a} {sign} {b} = {_value(a, sign, b)}"


def _drill(rng: random.Random, split: Split) -> Turn:
    sums = [_operands(rng, split) for _ in range(rng.randint(3, 10))]
    style = pick(rng, ("{} {} {}", "{}{}{}"))
    asked = pick(rng, (", ", "; ", "\n")).join(style.format(*item) for item in sums)
    answer = "\n".join(_solved(*item) for item in sums)
    user = pick(rng, DRILLS).format(sums=asked)
    return question("arithmetic", user, answer, "I work them out one by one.")


def _thought(a: int, sign: str, b: int) -> str:
    """The column method, right to left."""
    if sign == "-" and a < b:
        return f"{a} is less than {b}, so I turn it round. {_thought(b, '-', a)} So -{b - a}."
    tens_a, ones_a = divmod(a, 10)
    tens_b, ones_b = divmod(b, 10)
    if sign == "+":
        ones = ones_a + ones_b
        steps = f"Ones: {ones_a} + {ones_b} = {ones}, carry {ones // 10}."
        tens = tens_a + tens_b + ones // 10
        return f"{steps} Tens: {tens_a} + {tens_b} + {ones // 10} = {tens}."
    borrow = int(ones_a < ones_b)
    ones = ones_a + 10 * borrow - ones_b
    steps = f"Ones: {ones_a + 10 * borrow} - {ones_b} = {ones}, borrow {borrow}."
    return f"{steps} Tens: {tens_a} - {tens_b} - {borrow} = {tens_a - tens_b - borrow}."
