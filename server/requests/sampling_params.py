"""The typed sampling parameters of a body, with the server's defaults."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import msgspec

from config import ServeSettings
from protocol.sampling import SamplingParams
from server.bodies.bounds import BIASES
from server.errors import InvalidRequest
from server.model.guarded_tokenizer import texts_of
from server.model.tokenizer import Tokenizer
from server.requests.breakers import check_breakers
from server.requests.sampling_defaults import sampling_defaults
from server.requests.sampling_fields import SamplingFields

MAX_INFILL_CANDIDATES = 256
"""Most candidates of the `infill` sampler, which compares each candidate with every other."""

RANDOM_SEED = 2**32 - 1
"""llama.cpp's number for "draw a seed": -1 as an unsigned number."""

_SAME_NAME = (
    "samplers",
    "temperature",
    "dynatemp_range",
    "dynatemp_exponent",
    "top_p",
    "min_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "typical_p",
    "min_keep",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "dry_multiplier",
    "dry_allowed_length",
    "dry_sequence_breakers",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "adaptive_target",
    "adaptive_decay",
    "post_sampling_probs",
    "backend_sampling",
)
"""Fields that are copied unchanged into the parameter of the same name."""


def sampling_params(
    fields: SamplingFields,
    settings: ServeSettings,
    tokenizer: Tokenizer,
    *,
    n_ctx: int,
    top_logprobs: int = -1,
) -> SamplingParams:
    """The typed parameters. Missing fields get the server's defaults.

    `n_ctx` is the number of tokens that a slot holds. `top_logprobs` is the dialect's reading of
    its own fields. Raises `InvalidRequest` for a token that the vocabulary doesn't have.
    """
    defaults = sampling_defaults(settings)
    given = {name: value for name in _SAME_NAME if (value := getattr(fields, name)) is not None}
    top_k = defaults.top_k if fields.top_k is None else fields.top_k
    given |= {
        "top_k": max(top_k, 0),
        "top_logprobs": top_logprobs,
        "repeat_last_n": _look_back(fields.repeat_last_n, defaults.repeat_last_n, n_ctx),
        "dry_penalty_last_n": _look_back(
            fields.dry_penalty_last_n, defaults.dry_penalty_last_n, n_ctx
        ),
        "seed": _seed(settings.seed if fields.seed is None else fields.seed),
        "logit_bias": _logit_bias(fields, settings, defaults, tokenizer),
    }
    if fields.dry_sequence_breakers is not None:
        check_breakers(fields.dry_sequence_breakers, tokenizer)
    if fields.dry_base is not None and fields.dry_base >= 1:
        given["dry_base"] = fields.dry_base
    sampling = msgspec.structs.replace(defaults, **given)
    _check_infill(sampling)
    return sampling


def with_nth_seed(sampling: SamplingParams, index: int) -> SamplingParams:
    """The parameters for the choice with this index. Its seed is higher by the index."""
    return msgspec.structs.replace(sampling, seed=(sampling.seed + index) % RANDOM_SEED)


def ignores_eos(fields: SamplingFields, settings: ServeSettings) -> bool:
    """Whether the tokens that end an answer are banned for this request."""
    return settings.ignore_eos if fields.ignore_eos is None else fields.ignore_eos


def _look_back(count: int | None, default: int, n_ctx: int) -> int:
    """The tokens that a sampler looks back on: never more than there can be.

    llama.cpp allocates memory for all of them.
    """
    count = default if count is None else count
    return n_ctx if count == -1 else min(count, n_ctx)


def _seed(seed: int) -> int:
    seed %= 2**32
    return secrets.randbelow(RANDOM_SEED) if seed == RANDOM_SEED else seed


def _logit_bias(
    fields: SamplingFields, settings: ServeSettings, defaults: SamplingParams, tokenizer: Tokenizer
) -> tuple[tuple[int, float], ...]:
    bias = defaults.logit_bias
    if fields.logit_bias is not None:
        bias = tuple(_biased_tokens(fields.logit_bias, tokenizer))
    if ignores_eos(fields, settings):
        bias += tuple((token, float("-inf")) for token in sorted(tokenizer.end_tokens))
    return bias


def _biased_tokens(
    pairs: Sequence[tuple[int | str, float]], tokenizer: Tokenizer
) -> Iterator[tuple[int, float]]:
    count = 0
    for key, bias in pairs:
        if isinstance(key, str):
            with texts_of("logit_bias"):
                tokens = tokenizer.tokenize(key, add_special=False, parse_special=False)
            count += len(tokens)
            _check_biases(count)
            yield from ((token, bias) for token in tokens)
        elif 0 <= key < tokenizer.n_vocab:
            yield key, bias
        else:
            raise InvalidRequest(
                f"'logit_bias' names the token {key}; the vocabulary has tokens 0 to "
                f"{tokenizer.n_vocab - 1}",
                param="logit_bias",
            )


def _check_biases(count: int) -> None:
    """A text can be many tokens, each of which gets the bias."""
    if count > BIASES.most:
        raise InvalidRequest(
            f"'logit_bias' must have at most {BIASES.most} tokens in its texts", param="logit_bias"
        )


def _check_infill(sampling: SamplingParams) -> None:
    """Refuse `infill` on a whole vocabulary: it takes minutes, and every request would wait."""
    if "infill" not in sampling.samplers:
        return
    before = sampling.samplers[: sampling.samplers.index("infill")]
    if "top_k" not in before or not 0 < sampling.top_k <= MAX_INFILL_CANDIDATES:
        raise InvalidRequest(
            "'samplers' may have 'infill' only after 'top_k', with a 'top_k' of 1 to "
            f"{MAX_INFILL_CANDIDATES} (got {sampling.top_k})",
            param="samplers",
        )
