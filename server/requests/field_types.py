"""Types and bounds of fields that several requests have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, StrictBool, StrictStr

from config.groups.context import MIN_REUSED_CHUNK
from config.samplers import names_from_codes, to_samplers
from config.speculation import active_methods, spec_methods

INT32_MAX = 2**31 - 1
MAX_CHOICES = 128
"""Answers to one prompt (`n`)."""
MAX_STOP_STRINGS = 256
MAX_STOP_CHARS = 4096
MAX_LOGPROBS = 1024
"""Alternatives reported with each token (`n_probs`); each costs time in every step."""
MAX_LOGIT_BIASES = 65536
MAX_DRY_BREAKERS = 32
"""Most sequence breakers of DRY; each costs time at every token."""
MAX_SALT_CHARS = 256
MAX_ADAPTERS = 1024


def _without_nul(value: str) -> str:
    """The server marks its own salts with this character."""
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    return value


def _chunk(value: int) -> int:
    if 0 < value < MIN_REUSED_CHUNK:
        raise ValueError(f"must be 0 or at least {MIN_REUSED_CHUNK}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of strings")
    return value


def _bias_pairs(value: Any) -> Any:
    """Either spelling of `logit_bias` as (token id or text, bias) pairs."""
    if isinstance(value, dict | list) and len(value) > MAX_LOGIT_BIASES:
        raise ValueError(f"must have at most {MAX_LOGIT_BIASES} entries")
    if isinstance(value, dict):
        pairs = [(_token_key(key), bias) for key, bias in value.items() if bias is not None]
    elif isinstance(value, list) and all(isinstance(p, list) and len(p) == 2 for p in value):
        pairs = [(_token_key(key, text_ids=False), bias) for key, bias in value]
    else:
        raise ValueError("must be a list of [token, bias] pairs or an object of biases by token")
    return tuple((key, _bias(key, bias)) for key, bias in pairs)


def _token_key(key: Any, *, text_ids: bool = True) -> int | str:
    """A token id or a text. An object's keys are always strings, so digits mean an id there."""
    if isinstance(key, str):
        return int(key) if text_ids and key.isascii() and key.isdigit() else key
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise ValueError("must name each token by its id or its text")


def _bias(key: int | str, bias: Any) -> float:
    if bias is False:
        return float("-inf")
    if isinstance(bias, int | float) and not isinstance(bias, bool):
        return float(bias)
    raise ValueError(f"must give {key!r} a number, or false to ban it")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _sampler_names(value: Any) -> Any:
    names = names_from_codes(value) if isinstance(value, str) else value
    if not (isinstance(value, str) or _are_names(names)):
        raise ValueError("must be a list of sampler names or a string of their letters")
    return tuple(to_samplers(names))  # type: ignore[arg-type]


def _draft_methods(value: Any) -> Any:
    """Names as a list or split by commas; `none` is no method."""
    names = value.split(",") if isinstance(value, str) else value
    if not _are_names(names):
        raise ValueError("must be a method's name, several with commas between, or a list of them")
    stripped = [name.strip() for name in names if name.strip()]
    if not stripped:
        raise ValueError("must name a method, or none")
    return active_methods(spec_methods(stripped), has_draft_model=False)


Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]
Flag = StrictBool
Probability = Annotated[Real, Field(ge=0, le=1)]
Penalty = Annotated[Real, Field(ge=-100, le=100)]
Count = Annotated[Whole, Field(ge=0, le=INT32_MAX)]
LookBack = Annotated[Whole, Field(ge=-1, le=INT32_MAX)]
"""A number of latest tokens; -1 means all tokens in the context."""
ReusedChunk = Annotated[Count, AfterValidator(_chunk)]
Salt = Annotated[StrictStr, Field(max_length=MAX_SALT_CHARS), AfterValidator(_without_nul)]

StopString = Annotated[StrictStr, Field(max_length=MAX_STOP_CHARS)]
StopStrings = Annotated[
    list[StopString],
    FailFast(),
    BeforeValidator(_one_or_many, json_schema_input_type=StopString | list[StopString]),
    Field(max_length=MAX_STOP_STRINGS),
]

Bias = Annotated[float, Field(allow_inf_nan=True)]
_BiasInput = float | Literal[False]
LogitBias = Annotated[
    tuple[tuple[int | str, Bias], ...],
    BeforeValidator(
        _bias_pairs,
        json_schema_input_type=dict[str, _BiasInput | None] | list[tuple[int | str, _BiasInput]],
    ),
]

SamplerNames = Annotated[
    tuple[str, ...], BeforeValidator(_sampler_names, json_schema_input_type=str | list[str])
]
DraftMethods = Annotated[
    tuple[str, ...], BeforeValidator(_draft_methods, json_schema_input_type=str | list[str])
]
