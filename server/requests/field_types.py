"""Types and bounds of fields that several requests have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, StrictBool, StrictStr

from config.groups.context import MIN_REUSED_CHUNK
from config.samplers import names_from_codes, to_samplers
from config.speculation import active_methods, spec_methods
from server.bodies.bounds import (
    ALL_STOP_CHARS,
    BIAS_CHARS,
    BIASES,
    SALT_CHARS,
    SAMPLERS,
    STOP_CHARS,
    STOP_STRINGS,
)

INT32_MAX = 2**31 - 1
MAX_BIAS = 1e9
"""A larger bias would become infinite in llama.cpp's sums, and the sample meaningless."""


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


def _few_characters(words: list[str]) -> list[str]:
    if sum(map(len, words)) > ALL_STOP_CHARS.most:
        raise ValueError(f"must have at most {ALL_STOP_CHARS.most} characters in all strings")
    return words


def _bias_pairs(value: Any) -> Any:
    """Either spelling of `logit_bias` as (token id or text, bias) pairs."""
    if isinstance(value, dict | list) and len(value) > BIASES.most:
        raise ValueError(f"must have at most {BIASES.most} entries")
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
        if len(key) > BIAS_CHARS.most:
            raise ValueError(f"must name each token by at most {BIAS_CHARS.most} characters")
        return int(key) if text_ids and key.isascii() and key.isdigit() else key
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise ValueError("must name each token by its id or its text")


def _bias(key: int | str, bias: Any) -> float:
    if bias is False:
        return float("-inf")
    if not isinstance(bias, int | float) or isinstance(bias, bool):
        raise ValueError(f"must give {key!r:.100} a number, or false to ban it")
    if not -MAX_BIAS <= bias <= MAX_BIAS:
        raise ValueError(f"must give {key!r:.100} a number from -{MAX_BIAS:g} to {MAX_BIAS:g}")
    return float(bias)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _check_count(names: Any) -> None:
    if isinstance(names, str | list) and len(names) > SAMPLERS.most:
        raise ValueError(f"must have at most {SAMPLERS.most} names")


def _sampler_names(value: Any) -> Any:
    _check_count(value)
    names = names_from_codes(value) if isinstance(value, str) else value
    if not (isinstance(value, str) or _are_names(names)):
        raise ValueError("must be a list of sampler names or a string of their letters")
    return tuple(to_samplers(names))  # type: ignore[arg-type]


def _draft_methods(value: Any) -> Any:
    """Names as a list or split by commas; `none` is no method."""
    names = value.split(",") if isinstance(value, str) else value
    _check_count(names)
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
Salt = Annotated[StrictStr, Field(max_length=SALT_CHARS.most), AfterValidator(_without_nul)]

StopString = Annotated[StrictStr, Field(max_length=STOP_CHARS.most)]
StopStrings = Annotated[
    list[StopString],
    FailFast(),
    BeforeValidator(_one_or_many, json_schema_input_type=StopString | list[StopString]),
    Field(max_length=STOP_STRINGS.most),
    AfterValidator(_few_characters),
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
