"""A unified KV cache that is too small for what is wanted from it."""

from __future__ import annotations

import asyncio

from loadtests.trials.attacks.attack import NATIVE, Attack, Run, Setting, Target, completion

NUMBER = 9
_SMALL = Setting(("-kvu", "-c", "1024", "-np", "4", "--cache-ram", "64"))
_SMALLER = Setting(("-kvu", "-c", "1024", "-np", "4", "--cache-ram", "4", "--context-shift"))


def _prompt(tokens: int, first: int) -> list[int]:
    """Tokens that share no prefix with those of another `first`."""
    return [100 + (first * 31 + place) % 3000 for place in range(tokens)]


def _in_turn(*lengths: int, times: int = 2, n_predict: int = 4) -> Run:
    """Prompts of these lengths one after the other, and the same again."""

    async def run(target: Target) -> None:
        for _ in range(times):
            for number, length in enumerate(lengths):
                body = completion(prompt=_prompt(length, 1 + number), n_predict=n_predict)
                await target.post(NATIVE, body)

    return run


def _at_once(*lengths: int, n_predict: int = 200, times: int = 2) -> Run:
    """The same prompts at once, with long answers."""

    async def run(target: Target) -> None:
        for _ in range(times):
            bodies = [
                completion(prompt=_prompt(length, 1 + number), n_predict=n_predict, ignore_eos=True)
                for number, length in enumerate(lengths)
            ]
            await asyncio.gather(*(target.post(NATIVE, body) for body in bodies))

    return run


ATTACKS = (
    Attack(NUMBER, "prompts of 400, 400, 300, then again", _in_turn(400, 400, 300), _SMALL),
    Attack(NUMBER, "prompts of 700 and 700 in turn", _in_turn(700, 700, times=3), _SMALL),
    Attack(NUMBER, "four of 240 at once with long answers", _at_once(240, 240, 240, 240), _SMALL),
    Attack(NUMBER, "twelve of 150, more than fit", _in_turn(*[150] * 12), _SMALL),
    Attack(NUMBER, "prompts that fill the cache", _in_turn(1000, 1020, 1023, 1000), _SMALL),
    Attack(NUMBER, "shifts beside restored prefixes", _at_once(400, 300, 200, times=3), _SMALLER),
)
