"""Clients run their steps in order, and wait where the plan says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from loadtests.harness.load import run_plan
from loadtests.harness.scenario import Client, Plan, Record, Request, completion
from tests.support.fake_load_target import Script, StartServer, chunked

EVENTS = [
    b'data: {"content":"a","tokens":[7],"stop":false}\n\n',
    b'data: {"content":"b","tokens":[8],"stop":false}\n\n',
    b'data: {"content":"","stop":true,"tokens_predicted":2,"tokens_evaluated":1}\n\n',
]


def test_every_step_is_recorded(start_server: StartServer) -> None:
    address = start_server(Script(chunked(EVENTS)))
    plan = Plan(tuple(Client((completion([c], 2), completion([c, c], 2))) for c in (1, 2, 3)))
    records = asyncio.run(run_plan(address, plan))
    assert [record.error for record in records] == [""] * 6


@pytest.mark.parametrize(
    ("keys", "used"), [((), []), (("k",), ["k"] * 3), (("a", "b"), ["a", "a", "b"])]
)
def test_clients_use_the_keys_in_turn(
    start_server: StartServer, keys: tuple[str, ...], used: list[str]
) -> None:
    script = Script(chunked(EVENTS))
    plan = Plan(tuple(Client((completion([c], 2),)) for c in (1, 2, 3)))
    asyncio.run(run_plan(start_server(script), plan, keys))
    lines = b"\n".join(script.requests).decode().splitlines()
    bearers = [line for line in lines if line.startswith("Authorization: Bearer ")]
    assert sorted(line.removeprefix("Authorization: Bearer ") for line in bearers) == used


def test_a_client_stops_at_its_first_failure(start_server: StartServer) -> None:
    script = Script(chunked(EVENTS))
    plan = Plan((Client((completion([1], 99), completion([2], 2))), Client((completion([3], 2),))))
    records = asyncio.run(run_plan(start_server(script), plan))
    assert [bool(record.error) for record in records] == [True, False]
    assert len(script.requests) == 2


def test_a_conversation_builds_on_its_answers(start_server: StartServer) -> None:
    script = Script(chunked(EVENTS))

    def second_turn(earlier: Sequence[Record]) -> Request:
        return completion([1, *earlier[-1].tokens, 2], 2)

    plan = Plan((Client((completion([1], 2), second_turn)),))
    records = asyncio.run(run_plan(start_server(script), plan))
    assert len(records) == 2
    assert b'"prompt":[1,7,8,2]' in script.requests[1]


def test_a_client_waits_for_the_first_tokens_of_a_role(start_server: StartServer) -> None:
    address = start_server(Script(chunked(EVENTS), pause_s=0.02))
    steady = [Client((completion([i], 2, role="steady"),), role="steady") for i in range(3)]
    late = Client((completion([9], 2, role="late"),), role="late", after="steady")
    records = asyncio.run(run_plan(address, Plan((*steady, late))))
    firsts = [record.arrivals[0] for record in records if record.role == "steady"]
    assert records[-1].started >= max(firsts)


def test_nobody_waits_for_ever_for_a_role_that_failed(start_server: StartServer) -> None:
    address = start_server(Script([]))
    steady = Client((completion([1], 2, role="steady"),), role="steady")
    late = Client((completion([2], 2, role="late"),), role="late", after="steady")

    async def run() -> list[Record]:
        async with asyncio.timeout(60):
            return await run_plan(address, Plan((steady, late)))

    assert all(record.error for record in asyncio.run(run()))
