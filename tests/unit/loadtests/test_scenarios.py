from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from loadtests.harness.prompts import PromptSource
from loadtests.harness.report import COMPARED
from loadtests.harness.scenario import Load, Plan, Record, Request, Scenario
from loadtests.scenarios import load_all

SCENARIOS = load_all()


def plan(name: str, prompts: PromptSource, clients: int = 8, round_: int = 0) -> Plan:
    return SCENARIOS[name].prepare(Load(clients, 8, round_, prompts))


def bodies(plan: Plan, client: int) -> list[dict[str, Any]]:
    steps = plan.clients[client].steps
    return [msgspec.json.decode(step.payload) for step in steps if isinstance(step, Request)]


def test_they_are_found_by_name() -> None:
    assert {"plain", "shared-prefix", "long-prefill", "json"} <= set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("clients", [1, 4, 8])
class TestEveryScenario:
    def test_plans_can_be_repeated(
        self, scenario: Scenario, clients: int, prompts: PromptSource
    ) -> None:
        plans = [scenario.prepare(Load(clients, 8, 1, prompts)) for _ in range(2)]
        assert plans[0] == plans[1]

    def test_rounds_differ(self, scenario: Scenario, clients: int, prompts: PromptSource) -> None:
        plans = [scenario.prepare(Load(clients, 8, round_, prompts)) for round_ in range(2)]
        assert plans[0] != plans[1]

    def test_requests_fit_their_slot(
        self, scenario: Scenario, clients: int, prompts: PromptSource
    ) -> None:
        made = scenario.prepare(Load(clients, 8, 0, prompts))
        for index in range(len(made.clients)):
            for body in bodies(made, index):
                used = len(body["prompt"]) + body["n_predict"]
                assert used < scenario.needs.slot_tokens
                assert body["stream"] is True

    def test_key_metrics_exist(
        self, scenario: Scenario, clients: int, prompts: PromptSource
    ) -> None:
        assert set(scenario.key_metrics) <= {metric.name for metric in COMPARED}


def test_plain_prompts_share_nothing(prompts: PromptSource) -> None:
    made = plan("plain", prompts)
    starts = [tuple(body["prompt"][:4]) for c in range(8) for body in bodies(made, c)]
    assert len(set(starts)) == len(starts)


def test_shared_prefix_is_shared_by_all_and_new_in_each_round(prompts: PromptSource) -> None:
    shared = set()
    for round_ in range(2):
        made = plan("shared-prefix", prompts, round_=round_)
        found = {tuple(b["prompt"][:1024]) for c in range(8) for b in bodies(made, c)}
        assert len(found) == 1
        tails = [tuple(b["prompt"][1024:]) for c in range(8) for b in bodies(made, c)]
        assert len(set(tails)) == 16
        shared |= found
    assert len(shared) == 2


@pytest.mark.parametrize(("clients", "decoders"), [(1, 1), (4, 4), (8, 7)])
def test_long_prefill_leaves_a_slot_for_the_long_prompts(
    prompts: PromptSource, clients: int, decoders: int
) -> None:
    made = plan("long-prefill", prompts, clients)
    roles = [client.role for client in made.clients]
    assert roles == ["steady"] * decoders + ["prefill"]
    assert made.clients[-1].after == "steady"
    assert all(len(body["prompt"]) == 2000 for body in bodies(made, -1))


def test_json_answers_are_checked() -> None:
    scenario = SCENARIOS["json"]
    answer = Record("main", 0.0, text=['[{"a":1},', "{},{}]"], reason="eos")
    assert scenario.check(answer) == ""
    assert "not JSON" in scenario.check(Record("main", 0.0, text=["[{"], reason="eos"))
    assert "not an array" in scenario.check(Record("main", 0.0, text=["[1]"], reason="eos"))
    assert scenario.check(Record("main", 0.0, text=["[{"], reason="limit")) == ""


@pytest.mark.parametrize("name", ["speculative", "quote", "free-text"])
def test_variants_that_are_divided_or_judged_exist(name: str) -> None:
    needs = SCENARIOS[name].needs
    names = {variant.name for variant in needs.variants}
    assert {side for pair in needs.ratios for side in pair} <= names
    assert {side for g in needs.speculation for side in (g.variant, g.plain)} <= names


def test_answers_to_quotes_stand_in_their_prompts(prompts: PromptSource) -> None:
    made = plan("quote", prompts, clients=2)
    texts = [body["prompt"] for client in range(2) for body in bodies(made, client)]
    assert len(set(texts)) == len(texts) == 6
    assert all(len(text) > 160 for text in texts)


def agent_bodies(prompts: PromptSource, agent: int, round_: int = 0) -> list[list[int]]:
    """The prompts of an agent whose answers are 48 times the number of the request."""
    steps = plan("agents", prompts, round_=round_).clients[agent].steps
    records: list[Record] = []
    found = []
    for number, step in enumerate(steps):
        assert not isinstance(step, Request)
        request = step(records)
        found.append(list(request.prompt))
        records.append(Record("main", float(number), tokens=[number] * 48))
    return found


def test_agents_share_their_system_prompt_and_nothing_else(prompts: PromptSource) -> None:
    first, second = (agent_bodies(prompts, agent) for agent in (0, 1))
    assert first[0][:2000] == second[0][:2000]
    assert first[0][2000:2020] != second[0][2000:2020]


def test_an_agent_sends_what_was_answered_and_a_new_tool_result(prompts: PromptSource) -> None:
    turns = agent_bodies(prompts, 0)[:6]
    for number, (before, after) in enumerate(itertools.pairwise(turns)):
        answered = [*before, *[number] * 48]
        assert after[: len(answered)] == answered
        assert 200 <= len(after) - len(answered) <= 800


def test_an_agent_retries_its_last_turn_as_it_was_and_otherwise(prompts: PromptSource) -> None:
    *_, before, last, again, branch = agent_bodies(prompts, 3)
    shared = len(before) + 48
    assert again == last
    assert branch[:shared] == last[:shared]
    assert branch[shared : shared + 20] != last[shared : shared + 20]


def test_a_slot_holds_an_agent(prompts: PromptSource) -> None:
    longest = max(len(body) for agent in range(8) for body in agent_bodies(prompts, agent))
    assert longest + 48 < SCENARIOS["agents"].needs.slot_tokens
