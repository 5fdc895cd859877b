"""Speculative decoding of a request, from its fields and the server's flags."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from config import load_settings
from protocol.commands import DraftBounds, DraftMethod, Speculation
from server.errors import InvalidRequest
from server.requests.body import parse_body
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import generation_request, resolve_sampling
from tests.support.fake_server import make_server

LOOKUP, SHARED, MODEL = DraftMethod.NGRAM_SIMPLE, DraftMethod.NGRAM_MOD, DraftMethod.MODEL
ALL = ("-md", "d.gguf", "--spec-type", "draft-simple,ngram-simple,ngram-mod")
DRAFT = ("-md", "d.gguf", "--spec-draft-n-min", "2", "--spec-draft-p-min", "0.25")


def asked(flags: tuple[str, ...], **body: Any) -> Speculation | None:
    context = make_server(load_settings(flags, {})).context
    fields = parse_body(msgspec.json.encode(body), SamplingFields)
    return generation_request(
        fields, [1], context, resolve_sampling(fields, context)
    ).spec.speculation


def refusal(flags: tuple[str, ...], **body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(flags, **body)
    return caught.value


def test_there_are_no_drafts_unless_the_server_was_started_with_a_method() -> None:
    assert asked(()) is None
    assert asked((), spec_type="none", spec_n_max=4, spec_n_min=1, spec_p_min=0.5) is None
    assert asked(("-md", "d.gguf", "--spec-type", "none")) is None


def test_a_silent_request_gets_what_the_flags_say() -> None:
    assert asked(DRAFT) == Speculation(methods=(MODEL,), n_max=16, n_min=2, p_min=0.25)


def test_methods_are_asked_from_the_cheapest_on_each_within_its_own_bounds() -> None:
    found = asked(ALL, spec_n_min=1)
    assert found is not None
    assert found.methods == (LOOKUP, SHARED, MODEL)
    assert [found.bounds(method) for method in found.methods] == [
        DraftBounds(48, 1),
        DraftBounds(64, 1),
        DraftBounds(16, 1),
    ]


@pytest.mark.parametrize("name", ["spec_n_max", "speculative.n_max"])
def test_a_request_may_narrow_the_bounds(name: str) -> None:
    assert asked(DRAFT, **{name: 4}) == Speculation(methods=(MODEL,), n_max=4, n_min=2, p_min=0.25)
    assert asked(DRAFT, **{name: 100}) == asked(DRAFT)
    narrowed = asked(ALL, **{name: 20})
    assert narrowed is not None
    assert {m: narrowed.bounds(m).n_max for m in narrowed.methods} == {
        LOOKUP: 20,
        SHARED: 20,
        MODEL: 16,
    }


def test_the_other_bounds() -> None:
    found = asked(DRAFT, **{"speculative.n_min": 0, "speculative.p_min": 0.75})
    assert found == Speculation(methods=(MODEL,), n_max=16, p_min=0.75)
    assert asked(DRAFT, spec_n_min=0, spec_p_min=0.75) == found


@pytest.mark.parametrize(
    "body", [{"spec_type": "none"}, {"spec_type": ["none"]}, {"spec_n_max": 0}], ids=str
)
def test_a_request_may_turn_it_off(body: dict[str, Any]) -> None:
    assert asked(ALL, **body) is None


@pytest.mark.parametrize(
    "value", ["ngram-mod,ngram-simple", ["ngram-simple", "ngram-mod"], " ngram_mod, ngram-simple"]
)
@pytest.mark.parametrize("name", ["spec_type", "speculative.type", "speculative.types"])
def test_a_request_may_choose_among_the_servers_methods(name: str, value: object) -> None:
    found = asked(ALL, **{name: value})
    assert found is not None
    assert found.methods == (LOOKUP, SHARED)


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        ({"spec_type": "ngram-simple"}, "spec_type", "was started with draft-simple"),
        ({"spec_type": "eagle"}, "spec_type", "must name methods out of"),
        ({"spec_type": "draft-mtp"}, "spec_type", "draft-mtp is not supported"),
        ({"spec_type": "none,draft-simple"}, "spec_type", "must be none alone"),
        ({"spec_type": ""}, "spec_type", "must name a method, or none"),
        ({"spec_type": []}, "spec_type", "must name a method, or none"),
        ({"spec_type": 5}, "spec_type", "must be a method's name"),
        ({"spec_type": [5]}, "spec_type", "must be a method's name"),
        ({"spec_n_max": -1}, "spec_n_max", "at least 0"),
        ({"spec_n_max": "4"}, "spec_n_max", "must be a number"),
        ({"spec_n_max": 1.5}, "spec_n_max", "whole number"),
        ({"speculative.n_max": -1}, "speculative.n_max", "at least 0"),
        ({"spec_n_min": -1}, "spec_n_min", "at least 0"),
        ({"spec_p_min": 1.5}, "spec_p_min", "at most 1"),
        ({"spec_n_min": 5, "spec_n_max": 4}, "spec_n_min", "at most 'spec_n_max'"),
        ({"spec_n_max": 3, "speculative.n_max": 4}, "speculative.n_max", "not both"),
    ],
    ids=str,
)
def test_a_bad_wish_is_refused_by_name(body: dict[str, Any], param: str, reason: str) -> None:
    found = refusal(DRAFT, **body)
    assert (found.param, found.status) == (param, 400)
    assert reason in found.message


def test_a_server_without_speculation_says_so() -> None:
    assert "was started with none" in refusal((), spec_type="draft-simple").message
