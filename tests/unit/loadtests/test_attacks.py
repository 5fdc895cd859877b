"""The trial of attacks: how attacks share servers, and what is judged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pytest

from loadtests.trials import attacks
from loadtests.trials.attacks.attack import Attack, Setting, posts
from loadtests.trials.attacks.judge import NO_CLOCK, Bounds, judge
from loadtests.trials.attacks.watch import Memory, Sighting

NOTHING = posts("/completion", {})


def attack(
    name: str = "an attack", *, setting: Setting | None = None, is_alone: bool = False
) -> Attack:
    return Attack(1, name, NOTHING, setting or Setting(), is_alone=is_alone)


def problems(
    seen: Sighting,
    statuses: Sequence[str] = ("200",),
    *,
    restarts: float = 0,
    bounds: Bounds | None = None,
    of: Attack | None = None,
) -> list[str]:
    counts = dict.fromkeys(statuses, 1)
    return judge(of or attack(), seen, counts, [], restarts, bounds or Bounds()).problems


def test_a_quiet_sighting_breaks_nothing() -> None:
    assert not problems(Sighting(0.9, 4.0, 0.19, {200: 9}, 9, api=Memory(80, 179, 100)))


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (Sighting(gap_s=1.1), "between two tokens"),
        (Sighting(wait_s=5.1), "first token"),
        (Sighting(health_s=0.3), "/health took"),
        (Sighting(health={200: 5, 503: 1}), "/health said"),
        (Sighting(answers=3, changed=1), "texts changed"),
        (Sighting(failures=["HTTP 500"]), "failed"),
        (Sighting(api=Memory(80, 181, 80)), "API process grew"),
        (Sighting(engine=Memory(80, 80, 181)), "engine grew"),
    ],
)
def test_each_bound_is_named(seen: Sighting, word: str) -> None:
    (problem,) = problems(seen)
    assert word in problem


@pytest.mark.parametrize("status", ["500", "502"])
def test_attackers_see_no_fault(status: str) -> None:
    assert problems(Sighting(), [status])
    assert not problems(Sighting(), ["501", "503", "504", "400", "cut"])


def test_engines_die_as_often_as_an_attack_says() -> None:
    deadly = Attack(3, "deadly", NOTHING, restarts=2)
    assert problems(Sighting(), restarts=1)
    assert not problems(Sighting(gap_s=5), restarts=2, of=deadly)
    assert problems(Sighting(), restarts=3, of=deadly)


def test_without_a_clock_only_time_is_not_judged() -> None:
    assert not problems(Sighting(9.0, 90.0, 9.0), bounds=NO_CLOCK)
    assert problems(Sighting(api=Memory(80, 181, 80)), bounds=NO_CLOCK)


def test_attacks_with_equal_settings_share_a_server() -> None:
    other = Setting(("-np", "2"))
    all_of_them = [
        attack("a"),
        attack("b", setting=other),
        attack("c"),
        attack("d", is_alone=True),
        attack("e", setting=other),
    ]
    groups = [[one.name for one in group] for _, group in attacks._by_setting(all_of_them)]
    assert groups == [["a", "c"], ["b", "e"], ["d"]]


def test_a_short_form_has_each_kind() -> None:
    options = argparse.Namespace(only="", match="", short=1)
    assert [one.number for one in attacks._chosen(options)] == list(range(1, 14))
