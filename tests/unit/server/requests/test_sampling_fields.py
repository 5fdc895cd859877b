"""Sampling fields: every spelling, every bound, and the defaults."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from config import ServeSettings
from protocol.commands import UNLIMITED, ContextShift
from protocol.sampling import DEFAULT_SAMPLERS, SamplingParams
from server.context import ServerContext
from server.errors import InvalidRequest
from server.generation.types import GenerationRequest
from server.requests.body import parse_body
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import generation_request, nth_choice, resolve_sampling
from server.requests.unsupported_fields import LLAMA_SERVER_FIELDS
from tests.support.fake_server import END_OF_TURN, EOS, N_CTX_SLOT, make_server

BANNED = float("-inf")


def parse(**body: Any) -> SamplingFields:
    return parse_body(msgspec.json.encode(body), SamplingFields)


def params(settings: ServeSettings | None = None, **body: Any) -> SamplingParams:
    return resolve_sampling(parse(**body), context(settings))


def context(settings: ServeSettings | None = None) -> ServerContext:
    return make_server(settings).context


def request(settings: ServeSettings | None = None, **body: Any) -> GenerationRequest:
    fields, where = parse(**body), context(settings)
    return generation_request(fields, [1], where, resolve_sampling(fields, where))


def test_an_empty_body_means_llama_servers_defaults() -> None:
    assert params(seed=5) == SamplingParams(seed=5)


def test_null_means_the_default() -> None:
    names = [name for name in SamplingFields.model_fields if name != "seed"]
    assert params(seed=5, **dict.fromkeys(names)) == SamplingParams(seed=5)


def test_defaults_come_from_the_settings() -> None:
    settings = ServeSettings(temp=0.3, top_k=7, mirostat_ent=2.0, dynatemp_exp=3.0, seed=11)
    found = params(settings)
    assert (found.temperature, found.top_k, found.mirostat_tau) == (0.3, 7, 2.0)
    assert (found.dynatemp_exponent, found.seed) == (3.0, 11)
    assert params(settings, temperature=1).temperature == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("dynatemp_range", 0.5),
        ("dynatemp_exponent", 2.0),
        ("top_k", 3),
        ("top_p", 1.0),
        ("min_p", 0.0),
        ("top_n_sigma", 1.5),
        ("xtc_probability", 0.5),
        ("xtc_threshold", 0.6),
        ("typical_p", 0.9),
        ("min_keep", 2),
        ("repeat_last_n", 0),
        ("repeat_penalty", 1.1),
        ("frequency_penalty", -2.0),
        ("presence_penalty", 2.0),
        ("dry_multiplier", 0.8),
        ("dry_base", 1.0),
        ("dry_allowed_length", 4),
        ("dry_penalty_last_n", 8),
        ("dry_sequence_breakers", ("x", "y")),
        ("mirostat", 2),
        ("mirostat_tau", 4.0),
        ("mirostat_eta", 0.2),
        ("adaptive_target", 0.5),
        ("adaptive_decay", 0.5),
        ("post_sampling_probs", True),
        ("backend_sampling", True),
        ("seed", 123),
    ],
)
def test_every_field_reaches_the_engine(name: str, value: Any) -> None:
    assert getattr(params(**{name: value}), name) == value


def test_every_sampling_parameter_can_be_set_by_a_request() -> None:
    elsewhere = {"top_logprobs"}
    assert set(SamplingParams.__struct_fields__) - elsewhere <= set(SamplingFields.model_fields)


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"top_k": -1}, "top_k", 0),
        ({"repeat_last_n": -1}, "repeat_last_n", N_CTX_SLOT),
        ({"dry_penalty_last_n": -1}, "dry_penalty_last_n", N_CTX_SLOT),
        ({"repeat_last_n": 2**31 - 1}, "repeat_last_n", N_CTX_SLOT),
        ({"dry_penalty_last_n": 2**31 - 1}, "dry_penalty_last_n", N_CTX_SLOT),
        ({"dry_penalty_last_n": N_CTX_SLOT + 1}, "dry_penalty_last_n", N_CTX_SLOT),
        ({"dry_base": 0.5}, "dry_base", 1.75),
        ({"temperature": 1}, "temperature", 1.0),
        ({"min_keep": 2.0}, "min_keep", 2),
    ],
)
def test_values_with_a_meaning_of_their_own(body: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(params(**body), name) == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"temperature": -0.1}, "at least 0"),
        ({"temperature": "1"}, "must be a number"),
        ({"temperature": True}, "must be a number"),
        ({"temperature": []}, "must be a number"),
        ({"top_p": 1.01}, "at most 1"),
        ({"min_p": -0.01}, "at least 0"),
        ({"typical_p": 2}, "at most 1"),
        ({"xtc_probability": 1.5}, "at most 1"),
        ({"repeat_penalty": 0}, "above 0"),
        ({"repeat_last_n": -2}, "at least -1"),
        ({"frequency_penalty": 101}, "at most 100"),
        ({"dry_allowed_length": -1}, "at least 0"),
        ({"dry_sequence_breakers": []}, "1 or more"),
        ({"dry_sequence_breakers": ["\n"] * 33}, "32"),
        ({"samplers": "d" * 20}, "each sampler once"),
        ({"samplers": ["top_k", "dry", "top-k"]}, "each sampler once"),
        ({"dry_sequence_breakers": "x"}, "must be a list"),
        ({"mirostat": 3}, "at most 2"),
        ({"adaptive_decay": 1.0}, "at most 0.99"),
        ({"n_predict": -2}, "at least -1"),
        ({"n_predict": 1.5}, "whole number"),
        ({"max_tokens": "5"}, "must be a number"),
        ({"n": 0}, "at least 1"),
        ({"n": 129}, "at most 128"),
        ({"n_cmpl": 0}, "at least 1"),
        ({"n_probs": -1}, "at least 0"),
        ({"n_probs": 2000}, "at most 256"),
        ({"seed": "x"}, "must be a number"),
        ({"stop": 5}, "a string or a list"),
        ({"stream": 1}, "true or false"),
        ({"ignore_eos": "yes"}, "true or false"),
        ({"sse_ping_interval": -2}, "at least -1"),
        ({"samplers": "q"}, "letters"),
        ({"samplers": ["nonsense"]}, "must name samplers"),
        ({"samplers": 5}, "a list of sampler names"),
        ({"samplers": [5]}, "a list of sampler names"),
        ({"logit_bias": 5}, "pairs"),
        ({"logit_bias": [[1, 2, 3]]}, "pairs"),
        ({"logit_bias": [[1, True]]}, "false to ban"),
        ({"logit_bias": [[1.5, 1]]}, "its id or its text"),
        ({"logit_bias": {"1": "2"}}, "false to ban"),
        ({"stream_options": 5}, "must be an object"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**body)
    [name] = body
    assert caught.value.param == name
    assert reason in caught.value.message


@pytest.mark.parametrize(("ms", "seconds"), [(-1, None), (0, None), (1500, 1.5)])
def test_a_time_limit_is_in_milliseconds(ms: int, seconds: float | None) -> None:
    assert request(t_max_predict_ms=ms).max_seconds == seconds


def test_the_context_is_not_shifted_unless_the_server_does() -> None:
    assert request().spec.context_shift is None
    assert request(n_keep=0, n_discard=0).spec.context_shift is None
    for name in ("n_keep", "n_discard"):
        with pytest.raises(InvalidRequest, match="--context-shift") as caught:
            request(None, **{name: 5})
        assert caught.value.param == name


def test_what_a_context_shift_keeps() -> None:
    shifting = ServeSettings(context_shift=True, keep=4)
    assert request(shifting).spec.context_shift == ContextShift(4, 0)
    assert request(shifting, n_keep=0, n_discard=9).spec.context_shift == ContextShift(0, 9)
    assert request(shifting, n_keep=-1).spec.context_shift == ContextShift(1, 0)


def test_a_context_shift_keeps_the_bos_besides() -> None:
    server = make_server(ServeSettings(context_shift=True)).context
    bos = server.tokenizer.bos
    assert bos is not None
    body = parse(n_keep=3)
    found = generation_request(body, [bos, 1, 2, 3, 4], server, resolve_sampling(body, server))
    assert found.spec.context_shift == ContextShift(4, 0)


def test_short_chunks_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="must be 0 or at least 16") as caught:
        parse(n_cache_reuse=15)
    assert caught.value.param == "n_cache_reuse"


def test_chunks_are_reused_where_somebody_asks_for_it() -> None:
    assert request().spec.min_reused_chunk == 0
    assert request(n_cache_reuse=64).spec.min_reused_chunk == 64
    assert request(ServeSettings(cache_reuse=32)).spec.min_reused_chunk == 32
    assert request(ServeSettings(cache_reuse=32), n_cache_reuse=0).spec.min_reused_chunk == 0


@pytest.mark.parametrize(
    ("samplers", "top_k"),
    [(["infill"], 40), (["infill", "top_k"], 40), (["top_k", "infill"], 0), ("ki", 2000)],
)
def test_infill_of_a_whole_vocabulary_is_refused(samplers: Any, top_k: int) -> None:
    with pytest.raises(InvalidRequest, match="'infill' only after 'top_k'") as caught:
        params(samplers=samplers, top_k=top_k)
    assert caught.value.param == "samplers"


def test_infill_of_some_candidates_is_fine() -> None:
    assert params(samplers="ki", top_k=40).samplers == ("top_k", "infill")


@pytest.mark.parametrize("name", sorted(LLAMA_SERVER_FIELDS))
def test_what_is_not_supported_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}' is not supported") as caught:
        parse(**{name: ["x"] if LLAMA_SERVER_FIELDS[name].harmless == ([],) else 7})
    assert caught.value.param == name
    for harmless in (None, *LLAMA_SERVER_FIELDS[name].harmless):
        parse(**{name: harmless})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, UNLIMITED),
        ({"n_predict": 5}, 5),
        ({"max_tokens": 6}, 6),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 6, "max_completion_tokens": None}, 6),
        ({"n_predict": 0}, 0),
        ({"n_predict": -1}, UNLIMITED),
    ],
)
def test_limits_by_any_name(body: dict[str, Any], expected: int) -> None:
    assert request(**body).spec.max_tokens == expected


def test_a_limit_of_the_server_is_a_default() -> None:
    settings = ServeSettings(n_predict=9, cache_prompt=False)
    assert request(settings).spec.max_tokens == 9
    assert request(settings, n_predict=20).spec.max_tokens == 20
    assert request(settings).spec.cache_prompt is False
    assert request(settings, cache_prompt=True).spec.cache_prompt is True


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), (["", "b"], ("b",)), ("", ()), ([], ())],
)
def test_stop_strings(stop: Any, expected: tuple[str, ...]) -> None:
    assert request(stop=stop).stop == expected


@pytest.mark.parametrize(
    ("samplers", "expected"),
    [
        (None, DEFAULT_SAMPLERS),
        ("edskypmxt", DEFAULT_SAMPLERS),
        ("", ()),
        ([], ()),
        (["top-k", "topP", "TEMPERATURE"], ("top_k", "top_p", "temperature")),
        (["nucleus", "typ", "temp"], ("top_p", "typ_p", "temperature")),
        (["adaptive_p"], ("adaptive_p",)),
        (["top_k", "tfs_z", "min_p", "tfs"], ("top_k", "min_p")),
        (["tfs-z"], ()),
        (["typ_p", "top_k", "typical_p"], ("typ_p", "top_k")),
        (["temp", "top_k", "temperature"], ("temperature", "top_k")),
    ],
)
def test_sampler_names(samplers: Any, expected: tuple[str, ...]) -> None:
    assert params(samplers=samplers).samplers == expected


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        ([[5, 1.5]], ((5, 1.5),)),
        ([[5, False]], ((5, BANNED),)),
        ([["ab", -1]], ((97, -1.0), (98, -1.0))),
        ([["5", 1]], ((53, 1.0),)),
        ({"5": 2}, ((5, 2.0),)),
        ({"a": False}, ((97, BANNED),)),
        ({"-5": 1}, ((45, 1.0), (53, 1.0))),
        ({}, ()),
    ],
)
def test_logit_bias_in_all_spellings(bias: Any, expected: tuple[tuple[int, float], ...]) -> None:
    assert params(logit_bias=bias).logit_bias == expected


def test_a_bias_replaces_the_servers() -> None:
    settings = ServeSettings.model_validate({"logit_bias": ["1+1"]})
    assert params(settings).logit_bias == ((1, 1.0),)
    assert params(settings, logit_bias=[[2, 2]]).logit_bias == ((2, 2.0),)


@pytest.mark.parametrize("token", [259, -1])
def test_a_bias_for_no_token(token: int) -> None:
    with pytest.raises(InvalidRequest, match="0 to 258") as caught:
        params(logit_bias=[[token, 1]])
    assert caught.value.param == "logit_bias"


def test_ignore_eos_bans_all_ends_besides_the_bias() -> None:
    expected = ((1, 1.0), (EOS, BANNED), (END_OF_TURN, BANNED))
    assert params(logit_bias=[[1, 1]], ignore_eos=True).logit_bias == expected
    assert params(ServeSettings(ignore_eos=True)).logit_bias == expected[1:]
    assert params(ServeSettings(ignore_eos=True), ignore_eos=False).logit_bias == ()


@pytest.mark.parametrize("seed", [None, -1, 2**32 - 1])
def test_a_random_seed_is_drawn_at_the_edge(seed: int | None) -> None:
    seeds = {params(seed=seed).seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= drawn < 2**32 - 1 for drawn in seeds)


@pytest.mark.parametrize(("seed", "expected"), [(0, 0), (2**32 + 5, 5), (-2, 2**32 - 2)])
def test_large_seeds_are_folded(seed: int, expected: int) -> None:
    assert params(seed=seed).seed == expected


def test_choices_differ_in_their_seed_only() -> None:
    first = request(seed=2**32 - 3)
    assert nth_choice(first, 0) is first
    assert [nth_choice(first, index).spec.sampling.seed for index in (1, 2)] == [2**32 - 2, 0]
    assert nth_choice(first, 1).spec.prompt == first.spec.prompt


def test_log_probabilities_are_the_dialects_matter() -> None:
    fields = parse()
    assert resolve_sampling(fields, context()).top_logprobs == -1
    assert resolve_sampling(fields, context(), top_logprobs=3).top_logprobs == 3


@pytest.mark.parametrize(("slot", "expected"), [(-1, None), (0, 0), (3, 3)])
def test_slots(slot: int, expected: int | None) -> None:
    assert request(id_slot=slot).spec.slot == expected


def test_a_slot_that_does_not_exist() -> None:
    with pytest.raises(InvalidRequest, match="below 4"):
        request(id_slot=4)


def test_progress_is_reported_on_streams_only() -> None:
    assert request(return_progress=True, stream=True).spec.report_progress is True
    assert request(return_progress=True).spec.report_progress is False


@pytest.mark.parametrize(("own", "expected"), [(None, 30), (5, 5), (-1, 0), (0, 0)])
def test_ping_interval(own: int | None, expected: int) -> None:
    assert parse(sse_ping_interval=own).ping_seconds(30) == expected
