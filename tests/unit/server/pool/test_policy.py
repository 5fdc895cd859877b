"""Which models are loaded, and which go: the decisions, and what always holds of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from server.pool.memory import MemoryUse
from server.pool.policy import Decision, Limits, ModelFacts, Phase, Waiting, decide

NOW = 1000.0
MIB = 1 << 20


def loaded(name: str, **facts: object) -> ModelFacts:
    values = {"last_used": 0.0, "loaded_at": 0.0, "load_seconds": 1.0, **facts}
    return ModelFacts(name=name, phase=Phase.LOADED, **values)  # type: ignore[arg-type]


def wanted(name: str, *waits: float, tenant: str = "", **facts: object) -> ModelFacts:
    """A model that is away; each of `waits` is how long a request has waited."""
    values = {"load_seconds": 1.0, **facts}
    waiting = tuple(Waiting(tenant, NOW - seconds) for seconds in waits)
    return ModelFacts(name=name, phase=Phase.AWAY, waiting=waiting, **values)  # type: ignore[arg-type]


def two(*models: ModelFacts, **options: object) -> Decision:
    """The decision where two models have room."""
    return decide(models, Limits(count=2), NOW, **options)  # type: ignore[arg-type]


def test_a_wanted_model_is_loaded_where_there_is_room() -> None:
    assert two(loaded("a"), wanted("b", 0.0)).load == ("b",)


def test_nobody_loads_what_nobody_wants() -> None:
    assert two(wanted("a"), wanted("b")) == Decision()


def test_the_least_recently_used_idle_model_makes_room() -> None:
    old, new = loaded("old", last_used=10.0), loaded("new", last_used=20.0)
    assert two(new, old, wanted("c", 0.0)).unload == ("old",)


def test_a_pinned_model_stays_and_the_other_goes() -> None:
    pinned, other = loaded("pinned", is_pinned=True), loaded("other", last_used=500.0)
    assert two(pinned, other, wanted("c", 0.0)).unload == ("other",)


def test_a_model_that_answers_stays_and_an_idle_one_goes() -> None:
    busy = loaded("busy", num_users=1, last_used=1.0)
    assert two(busy, loaded("idle", last_used=999.0), wanted("c", 5.0)).unload == ("idle",)


def test_room_is_waited_for_while_another_leaves() -> None:
    leaving = ModelFacts(name="leaving", phase=Phase.LEAVING)
    assert two(loaded("a"), leaving, wanted("c", 0.0)) == Decision()


def test_a_model_that_was_used_just_now_is_not_given_up_for_one_request() -> None:
    recent = [loaded(name, last_used=NOW - 0.1, load_seconds=10.0) for name in "ab"]
    decision = two(*recent, wanted("c", 0.1, load_seconds=10.0), peak=5)
    assert not decision.unload
    assert NOW < decision.look_at <= NOW + 10.0


def test_it_is_given_up_once_waiting_costs_more_than_the_switch() -> None:
    recent = [loaded(name, last_used=NOW - 0.1, load_seconds=10.0) for name in "ab"]
    many = wanted("c", *[7.6] * 8, load_seconds=10.0)
    assert two(*recent, many, peak=20).unload == ("a",)


def test_it_is_given_up_at_once_when_everybody_waits() -> None:
    recent = [loaded(name, last_used=NOW - 0.01, load_seconds=10.0) for name in "ab"]
    assert two(*recent, wanted("c", 0.0, load_seconds=10.0), peak=1).unload == ("a",)


def test_a_model_in_use_is_closed_when_others_wait_for_long() -> None:
    busy = [loaded(name, num_users=3, last_used=NOW) for name in "ab"]
    decision = two(*busy, wanted("c", 7.0))
    assert decision.closed == {"a"}
    assert not decision.unload
    assert not two(*busy, wanted("c", 0.5)).closed


def test_a_model_has_some_time_before_it_is_closed() -> None:
    busy = [loaded(x, num_users=1, loaded_at=NOW - 3.0, load_seconds=10.0) for x in "ab"]
    decision = two(*busy, wanted("c", 50.0))
    assert not decision.closed
    assert decision.look_at == NOW + 7.0


def test_whoever_has_waited_longest_is_first() -> None:
    decision = two(loaded("a"), wanted("late", 1.0), wanted("early", 2.0))
    assert decision.load == ("early",)


def test_a_tenant_that_had_many_loads_stands_back() -> None:
    greedy, modest = wanted("x", 2.0, tenant="greedy"), wanted("y", 1.0, tenant="modest")
    assert two(loaded("a"), greedy, modest, spent={"greedy": 30.0}).load == ("y",)


def test_but_not_beyond_the_patience() -> None:
    greedy, modest = wanted("x", 200.0, tenant="greedy"), wanted("y", 1.0, tenant="modest")
    limits = Limits(count=2, patience=100.0)
    models = (loaded("a"), greedy, modest)
    assert decide(models, limits, NOW, spent={"greedy": 30.0}).load == ("x",)


def test_memory_bounds_what_is_loaded() -> None:
    limits = Limits(memory=MemoryUse(host=1000))
    large = loaded("large", need=MemoryUse(host=700), last_used=5.0)
    small = loaded("small", need=MemoryUse(host=200), last_used=1.0)
    new = wanted("new", 9.0, need=MemoryUse(host=600))
    decision = decide((large, small, new), limits, NOW)
    assert decision.unload == ("large",), "the small one would not be enough, so it may stay"
    both = wanted("new", 9.0, need=MemoryUse(host=900))
    assert set(decide((large, small, both), limits, NOW).unload) == {"large", "small"}


def test_the_memory_of_devices_counts_too() -> None:
    limits = Limits(memory=MemoryUse(host=1000, device=100))
    there = loaded("there", need=MemoryUse(host=1, device=80))
    assert decide(
        (there, wanted("new", 9.0, need=MemoryUse(host=1, device=30))), limits, NOW
    ).unload == ("there",)


def test_what_never_fits_is_refused_with_its_need() -> None:
    limits = Limits(memory=MemoryUse(host=500 * MIB))
    decision = decide((wanted("huge", 1.0, need=MemoryUse(900 * MIB)),), limits, NOW)
    assert "needs 900 MiB" in decision.refused["huge"]
    assert "limit is 500 MiB" in decision.refused["huge"]


def test_what_does_not_fit_beside_pinned_models_is_refused() -> None:
    pinned = [loaded(name, is_pinned=True) for name in "ab"]
    decision = two(*pinned, wanted("c", 1.0))
    assert "beside a, b, which stay" in decision.refused["c"]


def test_a_model_goes_when_its_time_is_over() -> None:
    idle = loaded("a", last_used=NOW - 60.0, keep_alive=60.0)
    assert two(idle).unload == ("a",)
    assert two(idle).expired == {"a"}
    later = two(loaded("a", last_used=NOW - 50.0, keep_alive=60.0))
    assert (later.unload, later.look_at) == ((), NOW + 10.0)
    assert not two(loaded("a", last_used=0.0, keep_alive=60.0, num_users=1)).unload


def test_a_model_whose_file_changed_goes_once_it_is_idle() -> None:
    assert two(loaded("a", must_go=True, num_users=1)).unload == ()
    assert two(loaded("a", must_go=True)).unload == ("a",)
    waiting = (Waiting("", NOW),)
    assert two(loaded("a", must_go=True, waiting=waiting, is_pinned=True)).unload == ("a",)


PHASES = st.sampled_from(list(Phase))
AGES = st.floats(0, 100)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[ModelFacts], Limits]:
    models = []
    for index in range(draw(st.integers(1, 6))):
        phase = draw(PHASES)
        waits = draw(st.lists(st.tuples(st.sampled_from("xyz"), AGES), max_size=3))
        models.append(
            ModelFacts(
                name=f"m{index}",
                phase=phase,
                need=MemoryUse(draw(st.integers(1, 10)), draw(st.integers(0, 10))),
                load_seconds=draw(st.floats(0.1, 20)),
                is_pinned=draw(st.booleans()),
                num_users=draw(st.integers(0, 2)) if phase is Phase.LOADED else 0,
                waiting=tuple(Waiting(tenant, NOW - age) for tenant, age in waits),
                last_used=NOW - draw(AGES),
                loaded_at=NOW - draw(AGES),
                keep_alive=draw(st.sampled_from([math.inf, 50.0])),
                must_go=draw(st.booleans()) if phase is Phase.LOADED else False,
            )
        )
    limits = Limits(
        draw(st.integers(0, 4)),
        MemoryUse(draw(st.integers(0, 25)), draw(st.integers(0, 25))),
        draw(st.sampled_from([math.inf, 30.0])),
    )
    return models, limits


def _fit(models: list[ModelFacts], limits: Limits) -> bool:
    host = sum(model.need.host for model in models)
    device = sum(model.need.device for model in models)
    return (
        (not limits.count or len(models) <= limits.count)
        and (not limits.memory.host or host <= limits.memory.host)
        and (not limits.memory.device or device <= limits.memory.device)
    )


@given(pools(), st.integers(0, 20))
def test_no_decision_breaks_a_promise(pool: tuple[list[ModelFacts], Limits], peak: int) -> None:
    models, limits = pool
    by_name = {model.name: model for model in models}
    decision = decide(models, limits, NOW, peak=peak)
    for name in decision.unload:
        model = by_name[name]
        assert model.phase is Phase.LOADED
        assert not model.num_users, "one that answers never goes"
        assert not model.is_pinned or model.must_go or model.last_used + model.keep_alive <= NOW
    for name in decision.closed:
        assert not by_name[name].is_pinned
        assert by_name[name].phase is Phase.LOADED
    for name in decision.load:
        assert by_name[name].phase is Phase.AWAY
        assert by_name[name].waiting
    if decision.load:
        here = [one for one in models if one.phase not in (Phase.AWAY, Phase.FETCHING)]
        assert _fit([*here, *(by_name[name] for name in decision.load)], limits)
    assert not set(decision.load) & set(decision.refused)


@given(pools(), st.integers(0, 20))
def test_who_waits_is_not_forgotten(pool: tuple[list[ModelFacts], Limits], peak: int) -> None:
    """Somebody waits and nothing is under way: something begins now, or at a known time."""
    models, limits = pool
    decision = decide(models, limits, NOW, peak=peak)
    waiting = [model for model in models if model.phase is Phase.AWAY and model.waiting]
    under_way = any(model.phase in (Phase.LOADING, Phase.LEAVING) for model in models)
    begins = decision.load or decision.unload or decision.closed or decision.refused
    assert not waiting or under_way or begins or math.isfinite(decision.look_at)
