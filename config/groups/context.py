"""Slots, the KV cache, the queue and the sizes of batches."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from config.groups.field_types import CacheType, FilePath, Number, SettingsGroup, Switch, Whole
from config.option import Group, Option, Spelling

DEFAULT_PARALLEL = 4
MIN_REUSED_CHUNK = 16
"""Tokens. Moving a chunk is a pass over a slot's cells, so a shorter chunk costs more than it
saves."""


def _slots(value: int) -> int:
    if value == 0:
        raise ValueError("must be at least 1, or -1 for the default")
    return DEFAULT_PARALLEL if value == -1 else value


def _chunk(value: int) -> int:
    if 0 < value < MIN_REUSED_CHUNK:
        raise ValueError(f"must be 0 or at least {MIN_REUSED_CHUNK}")
    return value


def _inverse(text: str) -> str:
    try:
        return repr(1.0 / float(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number other than 0") from None


class ContextSettings(SettingsGroup):
    """Slots, the KV cache, the queue and the sizes of batches."""

    ctx_size: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("-c", "--ctx-size"),
            Group.CONTEXT,
            "tokens of context of all slots together; each slot gets an equal part of them, or "
            "with --kv-unified what the others leave; 0 takes the length that the model was "
            "trained for",
            metavar="N",
        ),
    ] = 0
    n_predict: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-n", "--predict", "--n-predict"),
            Group.CONTEXT,
            "most tokens to generate for a request that names no limit; -1 is no limit",
            metavar="N",
        ),
    ] = -1
    context_shift: Annotated[
        Switch,
        Option(
            ("--context-shift",),
            Group.CONTEXT,
            "when an answer reaches the end of its slot, forget its oldest tokens and continue, "
            "instead of ending the answer",
        ),
    ] = False
    keep: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--keep",),
            Group.CONTEXT,
            "tokens at the beginning that a context shift never forgets, for a request without "
            "n_keep; -1 is the whole prompt",
            env="LLAMAPACK_KEEP",
            metavar="N",
        ),
    ] = 0
    parallel: Annotated[
        Whole,
        Field(ge=-1, le=256),
        AfterValidator(_slots),
        Option(
            ("-np", "--parallel"),
            Group.CONTEXT,
            "slots: how many requests are computed at the same time; -1 takes the default",
            env="LLAMA_ARG_N_PARALLEL",
            metavar="N",
        ),
    ] = DEFAULT_PARALLEL
    max_queue: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--max-queue",),
            Group.CONTEXT,
            "requests that may wait for a slot; further requests are answered 429 at once",
            env="LLAMAPACK_MAX_QUEUE",
            metavar="N",
        ),
    ] = 512
    max_queue_tokens: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--max-queue-tokens",),
            Group.CONTEXT,
            "prompt tokens that may wait for a slot; 0 is no limit",
            env="LLAMAPACK_MAX_QUEUE_TOKENS",
            metavar="N",
        ),
    ] = 0
    queue_timeout: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--queue-timeout",),
            Group.CONTEXT,
            "seconds that a request may wait for a slot before it is refused; 0 is no limit",
            env="LLAMAPACK_QUEUE_TIMEOUT",
            metavar="S",
        ),
    ] = 600.0
    request_timeout: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--request-timeout",),
            Group.CONTEXT,
            "seconds that an answer may take, waiting included, before it ends with an error; "
            "0 is no limit",
            env="LLAMAPACK_REQUEST_TIMEOUT",
            metavar="S",
        ),
    ] = 3600.0
    max_choices: Annotated[
        Whole,
        Field(ge=0, le=128),
        Option(
            ("--max-choices",),
            Group.CONTEXT,
            "most answers to one prompt, the field 'n' of a request; 0 is 8 for each slot",
            env="LLAMAPACK_MAX_CHOICES",
            metavar="N",
        ),
    ] = 0
    cache_ram: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-cram", "--cache-ram"),
            Group.CONTEXT,
            "MiB of host memory for prefixes that left their slot and for checkpoints, never more "
            "than a quarter of the machine's memory; 0 keeps nothing, -1 is no limit",
            metavar="N",
        ),
    ] = 8192
    ctx_checkpoints: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"),
            Group.CONTEXT,
            "most checkpoints for each slot that --cache-ram holds, for models that can't drop the "
            "end of a prompt (recurrent, sliding window); all slots share them; 0 keeps none",
            metavar="N",
        ),
    ] = 32
    checkpoint_min_step: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("-cms", "--checkpoint-min-step"),
            Group.CONTEXT,
            "tokens of a long prompt between two checkpoints; 0 makes them only where prompts "
            "part or are likely to",
            env="LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT",
            metavar="N",
        ),
    ] = 8192
    cache_disk: Annotated[
        FilePath | None,
        Option(
            ("--cache-disk",),
            Group.CONTEXT,
            "folder in which the most used prefixes are saved when the server ends, and from which "
            "they are loaded when it starts",
            env="LLAMAPACK_CACHE_DISK",
            metavar="DIR",
            default_text="none",
        ),
    ] = None
    cache_disk_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("--cache-disk-size",),
            Group.CONTEXT,
            "most MiB in the folder of --cache-disk; the least recently used files are removed "
            "first",
            env="LLAMAPACK_CACHE_DISK_SIZE",
            metavar="N",
        ),
    ] = 4096
    cache_sharing: Annotated[
        Literal["key", "all"],
        Option(
            ("--cache-sharing",),
            Group.CONTEXT,
            "who reuses the cached prefixes of a request: only requests with the same API key, or "
            "those with any key, which then see by an answer's counts and times what others asked",
            env="LLAMAPACK_CACHE_SHARING",
        ),
    ] = "key"
    kv_unified: Annotated[
        Switch,
        Option(
            ("-kvu", "--kv-unified"),
            Group.CONTEXT,
            "one KV cache shared by all slots instead of one part for each; on by itself where "
            "--parallel is not given and parts would be short (below 32768 tokens and below what "
            "the model was trained for)",
            negative=("-no-kvu",),
            default_text="auto",
        ),
    ] = False
    cont_batching: Annotated[
        Switch,
        Option(
            ("-cb", "--cont-batching"),
            Group.CONTEXT,
            "compute several requests together; --no-cont-batching is the same as --parallel 1",
            negative=("-nocb",),
        ),
    ] = True
    batch_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("-b", "--batch-size"),
            Group.CONTEXT,
            "most tokens in one step",
            env="LLAMA_ARG_BATCH",
            metavar="N",
        ),
    ] = 2048
    ubatch_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("-ub", "--ubatch-size"),
            Group.CONTEXT,
            "most tokens that the device computes at once; never more than --batch-size",
            env="LLAMA_ARG_UBATCH",
            metavar="N",
        ),
    ] = 512
    itl_target_ms: Annotated[
        Number,
        Field(gt=0),
        Option(
            ("--itl-target-ms",),
            Group.CONTEXT,
            "longest wished time between two tokens of a stream, in milliseconds; prompts are "
            "read in chunks short enough for it",
            env="LLAMAPACK_ITL_TARGET_MS",
            metavar="MS",
        ),
    ] = 100.0
    cache_prompt: Annotated[
        Switch,
        Option(
            ("--cache-prompt",),
            Group.CONTEXT,
            "reuse the beginning of a prompt that the KV cache already holds",
        ),
    ] = True
    cache_reuse: Annotated[
        Whole,
        Field(ge=0),
        AfterValidator(_chunk),
        Option(
            ("--cache-reuse",),
            Group.CONTEXT,
            "after an edit in a prompt, also reuse the text behind the edit, in chunks of at "
            "least N tokens (16 or more): faster, but an approximation; 0 reuses prefixes only",
            metavar="N",
        ),
    ] = 0
    cache_type_k: Annotated[
        CacheType,
        Option(
            ("-ctk", "--cache-type-k"), Group.CONTEXT, "type of the cached keys", metavar="TYPE"
        ),
    ] = "f16"
    cache_type_v: Annotated[
        CacheType,
        Option(
            ("-ctv", "--cache-type-v"),
            Group.CONTEXT,
            "type of the cached values; the quantized ones need flash attention",
            metavar="TYPE",
        ),
    ] = "f16"
    swa_full: Annotated[
        Switch,
        Option(
            ("--swa-full",),
            Group.CONTEXT,
            "keep the whole context of sliding-window layers, so that prefixes can be reused",
        ),
    ] = False
    rope_scaling: Annotated[
        Literal["none", "linear", "yarn"] | None,
        Option(
            ("--rope-scaling",),
            Group.CONTEXT,
            "method of RoPE scaling",
            env="LLAMA_ARG_ROPE_SCALING_TYPE",
            metavar="METHOD",
            default_text="from the model",
        ),
    ] = None
    rope_freq_base: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--rope-freq-base",),
            Group.CONTEXT,
            "base frequency of RoPE; 0 takes the model's",
            metavar="X",
        ),
    ] = 0.0
    rope_freq_scale: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--rope-freq-scale",),
            Group.CONTEXT,
            "frequency factor of RoPE: 0.5 doubles the context; 0 takes the model's",
            metavar="X",
            spellings=(
                Spelling(
                    ("--rope-scale",),
                    "the inverse of --rope-freq-scale: 2 doubles the context",
                    "LLAMA_ARG_ROPE_SCALE",
                    convert=_inverse,
                    metavar="X",
                ),
            ),
        ),
    ] = 0.0
    yarn_orig_ctx: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--yarn-orig-ctx",),
            Group.CONTEXT,
            "YaRN: context in tokens that the model was trained for; 0 takes the model's",
            metavar="N",
        ),
    ] = 0
    yarn_ext_factor: Annotated[
        Number,
        Option(
            ("--yarn-ext-factor",),
            Group.CONTEXT,
            "YaRN: share of extrapolation; 0 is interpolation alone, -1 takes the model's",
            metavar="X",
        ),
    ] = -1.0
    yarn_attn_factor: Annotated[
        Number,
        Option(
            ("--yarn-attn-factor",),
            Group.CONTEXT,
            "YaRN: magnitude of attention; -1 takes the model's",
            metavar="X",
        ),
    ] = -1.0
    yarn_beta_slow: Annotated[
        Number,
        Option(
            ("--yarn-beta-slow",),
            Group.CONTEXT,
            "YaRN: high correction dimension; -1 takes the model's",
            metavar="X",
        ),
    ] = -1.0
    yarn_beta_fast: Annotated[
        Number,
        Option(
            ("--yarn-beta-fast",),
            Group.CONTEXT,
            "YaRN: low correction dimension; -1 takes the model's",
            metavar="X",
        ),
    ] = -1.0
