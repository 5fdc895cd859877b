"""Who drafts tokens ahead, and how many."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from config import coerce
from config.groups.field_types import (
    CacheType,
    FilePath,
    Number,
    SettingsGroup,
    Switch,
    Whole,
    Words,
)
from config.option import Group, Option, Spelling
from config.speculation import spec_methods

MAX_DRAFT = 1024
"""Tokens; llama-server takes no more either."""


class SpeculationSettings(SettingsGroup):
    """Who drafts tokens ahead, and how many."""

    spec_type: Annotated[
        Words,
        AfterValidator(spec_methods),
        Option(
            ("--spec-type",),
            Group.SPECULATION,
            "who drafts tokens, comma-separated: ngram-simple looks up what followed the last "
            "tokens earlier in the same text, ngram-mod in all texts of the same API key and "
            "cache_salt, "
            "draft-simple asks the draft model; none turns drafts off. They are asked in this "
            "order, and the first draft is used",
            metavar="TYPES",
            default_text="draft-simple with a draft model, else none",
            repeatable=True,
            spellings=(
                Spelling(("--spec-default",), "same as --spec-type ngram-mod", on="ngram-mod"),
            ),
        ),
    ] = ()
    spec_draft_model: Annotated[
        FilePath | None,
        Option(
            ("-md", "--model-draft", "--spec-draft-model"),
            Group.SPECULATION,
            "GGUF file of a small model with the same vocabulary that drafts tokens; with "
            "--spec-draft-hf, the file of that repository",
            metavar="FILE",
            default_text="none",
        ),
    ] = None
    spec_draft_hf: Annotated[
        str | None,
        Option(
            ("-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"),
            Group.SPECULATION,
            "Hugging Face repository to fetch the draft model from",
            env="LLAMA_ARG_SPEC_DRAFT_HF_REPO",
            metavar="USER/REPO[:QUANT]",
        ),
    ] = None
    spec_draft_n_max: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-draft-n-max",),
            Group.SPECULATION,
            "most tokens of a draft of the draft model; a bound, because the length follows what "
            "pays (llama-server always drafts this number of tokens, and its default is 3)",
            metavar="N",
        ),
    ] = 16
    spec_draft_n_min: Annotated[
        Whole,
        Field(ge=0, le=MAX_DRAFT),
        Option(
            ("--spec-draft-n-min",),
            Group.SPECULATION,
            "drafts of the draft model with fewer tokens are thrown away",
            metavar="N",
        ),
    ] = 0
    spec_draft_p_min: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--spec-draft-p-min", "--draft-p-min"),
            Group.SPECULATION,
            "the draft model stops before a token whose probability it puts below this",
            metavar="P",
        ),
    ] = 0.0
    spec_draft_type_k: Annotated[
        CacheType,
        Option(
            ("-ctkd", "--cache-type-k-draft", "--spec-draft-type-k"),
            Group.SPECULATION,
            "type of the draft model's cached keys",
            env="LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K",
            metavar="TYPE",
        ),
    ] = "f16"
    spec_draft_type_v: Annotated[
        CacheType,
        Option(
            ("-ctvd", "--cache-type-v-draft", "--spec-draft-type-v"),
            Group.SPECULATION,
            "type of the draft model's cached values; the quantized ones need flash attention",
            env="LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V",
            metavar="TYPE",
        ),
    ] = "f16"
    spec_draft_threads: Annotated[
        Whole,
        Field(ge=-1, le=512),
        Option(
            ("-td", "--threads-draft", "--spec-draft-threads"),
            Group.SPECULATION,
            "CPU threads of the draft model for drafting; -1 or 0 takes --threads",
            env="LLAMAPACK_SPEC_DRAFT_THREADS",
            metavar="N",
        ),
    ] = -1
    spec_draft_threads_batch: Annotated[
        Whole,
        Field(ge=-1, le=512),
        Option(
            ("-tbd", "--threads-batch-draft", "--spec-draft-threads-batch"),
            Group.SPECULATION,
            "CPU threads of the draft model for prefill; -1 or 0 takes --threads-draft, or "
            "--threads-batch if that isn't given either",
            env="LLAMAPACK_SPEC_DRAFT_THREADS_BATCH",
            metavar="N",
        ),
    ] = -1
    spec_draft_ngl: Annotated[
        int,
        BeforeValidator(coerce.to_gpu_layers),
        Field(ge=-2),
        Option(
            ("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl"),
            Group.SPECULATION,
            "the draft model's layers to keep on the GPU: a number, auto (-1) or all (-2)",
            env="LLAMA_ARG_N_GPU_LAYERS_DRAFT",
            metavar="N",
            default_text="auto",
        ),
    ] = -1
    spec_ngram_simple_size_n: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-simple-size-n",),
            Group.SPECULATION,
            "ngram-simple: number of latest tokens that must occur earlier in the text "
            "(llama-server's default is 12; here a rejected lookup soon drafts less)",
            env="LLAMAPACK_SPEC_NGRAM_SIMPLE_SIZE_N",
            metavar="N",
        ),
    ] = 4
    spec_ngram_simple_size_m: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-simple-size-m",),
            Group.SPECULATION,
            "ngram-simple: most tokens of a draft",
            env="LLAMAPACK_SPEC_NGRAM_SIMPLE_SIZE_M",
            metavar="N",
        ),
    ] = 48
    spec_ngram_simple_min_hits: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-simple-min-hits",),
            Group.SPECULATION,
            "ngram-simple: how often they must occur there",
            env="LLAMAPACK_SPEC_NGRAM_SIMPLE_MIN_HITS",
            metavar="N",
        ),
    ] = 1
    spec_ngram_mod_n_match: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-mod-n-match",),
            Group.SPECULATION,
            "ngram-mod: number of latest tokens that must have been seen in a text of the same "
            "API key and cache_salt (llama-server's default is 24)",
            env="LLAMAPACK_SPEC_NGRAM_MOD_N_MATCH",
            metavar="N",
        ),
    ] = 12
    spec_ngram_mod_n_min: Annotated[
        Whole,
        Field(ge=0, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-mod-n-min",),
            Group.SPECULATION,
            "ngram-mod: shorter drafts are thrown away (llama-server's default is 48)",
            env="LLAMAPACK_SPEC_NGRAM_MOD_N_MIN",
            metavar="N",
        ),
    ] = 0
    spec_ngram_mod_n_max: Annotated[
        Whole,
        Field(ge=1, le=MAX_DRAFT),
        Option(
            ("--spec-ngram-mod-n-max",),
            Group.SPECULATION,
            "ngram-mod: most tokens of a draft",
            env="LLAMAPACK_SPEC_NGRAM_MOD_N_MAX",
            metavar="N",
        ),
    ] = 64
    measure_costs: Annotated[
        Switch,
        Option(
            ("--measure-costs",),
            Group.SPECULATION,
            "time steps by their number of tokens at the first start, for some seconds; this "
            "decides how long drafts are and what is computed together; the result is kept in the "
            "user's cache folder",
            env="LLAMAPACK_MEASURE_COSTS",
        ),
    ] = True
