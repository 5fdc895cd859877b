"""Every setting of `llamapack serve`, declared once.

A field gives the TOML key, the type, the default and the bounds; the Option beside it gives
the flags, the variable and the help. Nothing else has to be touched to add a setting, except
that a name listed in `config.refused` must leave that list.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from config import words
from config.option import Group, Option, Spelling
from config.samplers import DEFAULT_ORDER, NAMES, names_from_codes, to_samplers
from config.speculation import spec_methods

DEFAULT_PARALLEL = 4
MAX_DRAFT = 1024
"""Tokens; llama-server takes no more either."""
MIN_REUSED_CHUNK = 16
"""Moving a chunk is a pass over a slot's cells, so shorter ones cost more than they save."""

Switch = Annotated[bool, BeforeValidator(words.to_switch)]
OnOffAuto = Annotated[Literal["auto", "on", "off"], BeforeValidator(words.to_on_off_auto)]
Whole = Annotated[int, BeforeValidator(words.not_a_switch)]
Number = Annotated[float, BeforeValidator(words.not_a_switch)]
Words = Annotated[tuple[str, ...], BeforeValidator(words.to_list)]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]


def _slots(value: int) -> int:
    if value == 0:
        raise ValueError("must be at least 1, or -1 for the default")
    return DEFAULT_PARALLEL if value == -1 else value


def _chunk(value: int) -> int:
    if 0 < value < MIN_REUSED_CHUNK:
        raise ValueError(f"must be 0 or at least {MIN_REUSED_CHUNK}")
    return value


def _prefix(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("must start with /")
    return value.rstrip("/")


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if origin != "*" and (origin.endswith("/") or "://" not in origin):
            raise ValueError("must be origins such as https://app.example.com, or *")
    return value


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name at least one address")
    return tuple(_host(host) for host in value)


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host.endswith(".sock") and (host.count(":") == 1 or "]:" in host or "/" in host):
        raise ValueError("must be addresses without a port, or socket paths that end in .sock")
    return host


def _inverse(text: str) -> str:
    try:
        return repr(1.0 / float(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number other than 0") from None


class ServeSettings(BaseModel):
    """The settings of one server, validated and frozen.

    Durations are in the unit that the field or its help names (seconds where none is named),
    sizes are in tokens. None means that the model or the engine decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # --- Model ---------------------------------------------------------------------------

    config: Annotated[
        FilePath | None,
        Option(
            ("--config",),
            Group.MODEL,
            "TOML file with any of these settings; its keys are the long flags in snake_case",
            env="LLAMAPACK_CONFIG",
            metavar="FILE",
        ),
    ] = None
    preset: Annotated[
        str | None,
        Option(
            ("--preset",),
            Group.MODEL,
            "start from a shipped preset: {presets}",
            env="LLAMAPACK_PRESET",
            metavar="NAME",
        ),
    ] = None
    model: Annotated[
        FilePath | None,
        Option(
            ("-m", "--model"),
            Group.MODEL,
            "GGUF file to serve; of a split model, its first file",
            metavar="FILE",
            default_text="the embedded demo model",
        ),
    ] = None
    alias: Annotated[
        Words,
        Option(
            ("-a", "--alias"),
            Group.MODEL,
            "names under which clients ask for the model, comma-separated",
            metavar="NAMES",
            default_text="from the file's name",
            repeatable=True,
        ),
    ] = ()
    hf_repo: Annotated[
        str | None,
        Option(
            ("-hf", "-hfr", "--hf-repo"),
            Group.MODEL,
            "Hugging Face repository to fetch the model from; without a quantization it takes "
            "Q4_K_M, else Q8_0, else the first file",
            metavar="USER/REPO[:QUANT]",
        ),
    ] = None
    hf_file: Annotated[
        str | None,
        Option(
            ("-hff", "--hf-file"),
            Group.MODEL,
            "file of that repository, instead of choosing by quantization",
            metavar="FILE",
        ),
    ] = None
    hf_token: Annotated[
        str | None,
        Field(repr=False),
        Option(
            ("-hft", "--hf-token"),
            Group.MODEL,
            "access token for Hugging Face",
            env="HF_TOKEN",
            metavar="TOKEN",
        ),
    ] = None
    offline: Annotated[
        Switch,
        Option(("--offline",), Group.MODEL, "use downloaded files only, never the network"),
    ] = False
    load_mode: Annotated[
        Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"],
        Option(
            ("-lm", "--load-mode"),
            Group.MODEL,
            "how the weights get into memory: mapped, locked, read with direct I/O",
            metavar="MODE",
            spellings=(
                Spelling(
                    ("--mmap",), "same as --load-mode mmap", "LLAMA_ARG_MMAP", on="mmap", off="none"
                ),
                Spelling(("--no-mmap",), "same as --load-mode none", on="none"),
                Spelling(
                    ("--mlock",),
                    "same as --load-mode mmap+mlock",
                    "LLAMA_ARG_MLOCK",
                    on="mmap+mlock",
                ),
                Spelling(
                    ("-dio", "--direct-io"),
                    "same as --load-mode dio",
                    "LLAMA_ARG_DIO",
                    on="dio",
                ),
            ),
        ),
    ] = "auto"
    lora: Annotated[
        tuple[FilePath, ...],
        BeforeValidator(words.to_list),
        Option(
            ("--lora",),
            Group.MODEL,
            "LoRA adapters to load and apply, comma-separated; requests choose others with `lora`",
            env="LLAMAPACK_LORA",
            metavar="FILES",
            repeatable=True,
        ),
    ] = ()
    lora_scaled: Annotated[
        tuple[tuple[FilePath, Annotated[float, Field(ge=-1e6, le=1e6)]], ...],
        BeforeValidator(words.to_scaled_files),
        Option(
            ("--lora-scaled",),
            Group.MODEL,
            "the same with a scale each, as FILE:SCALE; they are numbered after those of --lora",
            env="LLAMAPACK_LORA_SCALED",
            metavar="FILE:SCALE",
            repeatable=True,
        ),
    ] = ()
    lora_init_without_apply: Annotated[
        Switch,
        Option(
            ("--lora-init-without-apply",),
            Group.MODEL,
            "load adapters at scale 0: requests and POST /lora-adapters apply them",
            env="LLAMAPACK_LORA_INIT_WITHOUT_APPLY",
        ),
    ] = False
    repack: Annotated[
        Switch,
        Option(
            ("--repack",),
            Group.MODEL,
            "rearrange weights for this CPU's matrix instructions",
            negative=("-nr",),
        ),
    ] = True
    warmup: Annotated[
        Switch,
        Option(("--warmup",), Group.MODEL, "run one empty step before taking requests"),
    ] = True

    # --- Context and batching ------------------------------------------------------------

    ctx_size: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("-c", "--ctx-size"),
            Group.CONTEXT,
            "context in tokens; without --kv-unified each slot gets this divided by --parallel; "
            "0 takes the model's own length",
            metavar="N",
        ),
    ] = 0
    n_predict: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-n", "--predict", "--n-predict"),
            Group.CONTEXT,
            "most tokens to generate for a request that doesn't say; -1 is no limit",
            metavar="N",
        ),
    ] = -1
    context_shift: Annotated[
        Switch,
        Option(
            ("--context-shift",),
            Group.CONTEXT,
            "when an answer reaches the end of its slot, forget the oldest tokens and go on "
            "instead of ending it",
        ),
    ] = False
    keep: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--keep",),
            Group.CONTEXT,
            "tokens at the beginning that a context shift never forgets, for a request that "
            "doesn't say; -1 is the whole prompt",
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
            "slots: sequences decoded side by side; -1 takes the default",
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
            "requests that may wait for a slot; more are answered 429 at once",
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
            "seconds that a request may wait for a slot before it is refused; 0 is any time",
            env="LLAMAPACK_QUEUE_TIMEOUT",
            metavar="S",
        ),
    ] = 0.0
    request_timeout: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--request-timeout",),
            Group.CONTEXT,
            "seconds that an answer may take, waiting included, before it ends with an error; "
            "0 is any time",
            env="LLAMAPACK_REQUEST_TIMEOUT",
            metavar="S",
        ),
    ] = 0.0
    cache_ram: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-cram", "--cache-ram"),
            Group.CONTEXT,
            "host memory in MiB for prefixes that left their slot, at most a quarter of the "
            "machine's; 0 keeps none, -1 is no limit",
            metavar="N",
        ),
    ] = 8192
    cache_disk: Annotated[
        FilePath | None,
        Option(
            ("--cache-disk",),
            Group.CONTEXT,
            "folder in which the hottest prefixes are saved when the server ends, and from which "
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
            "most MiB in that folder; the least recently used files go first",
            env="LLAMAPACK_CACHE_DISK_SIZE",
            metavar="N",
        ),
    ] = 4096
    kv_unified: Annotated[
        Switch,
        Option(
            ("-kvu", "--kv-unified"),
            Group.CONTEXT,
            "one KV cache shared by all slots instead of one part for each",
            negative=("-no-kvu",),
        ),
    ] = False
    cont_batching: Annotated[
        Switch,
        Option(
            ("-cb", "--cont-batching"),
            Group.CONTEXT,
            "let requests join a running batch; without it one sequence runs at a time",
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
            "most tokens that the device computes at once; never above --batch-size",
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
            "milliseconds between two tokens of a stream that prefill should not exceed",
            env="LLAMAPACK_ITL_TARGET_MS",
            metavar="MS",
        ),
    ] = 100.0
    cache_prompt: Annotated[
        Switch,
        Option(("--cache-prompt",), Group.CONTEXT, "reuse the KV cache of a prompt's known prefix"),
    ] = True
    cache_reuse: Annotated[
        Whole,
        Field(ge=0),
        AfterValidator(_chunk),
        Option(
            ("--cache-reuse",),
            Group.CONTEXT,
            "after an edit in a prompt, move what its slot holds behind the edit and reuse it, in "
            "chunks of at least N tokens (16 or more): faster, but an approximation; 0 reuses "
            "prefixes only",
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
            "keep the whole context for sliding-window layers, so that prefixes can be reused",
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
            "frequency factor of RoPE, 0.5 doubles the context; 0 takes the model's",
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
            "YaRN: share of extrapolation, 0 is interpolation only; -1 takes the model's",
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

    # --- CPU and GPU ---------------------------------------------------------------------

    threads: Annotated[
        Whole,
        Field(ge=-1, le=512),
        Option(
            ("-t", "--threads"),
            Group.DEVICE,
            "CPU threads for decoding; -1 or 0 takes one for each core",
            metavar="N",
        ),
    ] = -1
    threads_batch: Annotated[
        Whole,
        Field(ge=-1, le=512),
        Option(
            ("-tb", "--threads-batch"),
            Group.DEVICE,
            "CPU threads for prefill; -1 or 0 takes --threads",
            metavar="N",
        ),
    ] = -1
    flash_attn: Annotated[
        OnOffAuto,
        Option(("-fa", "--flash-attn"), Group.DEVICE, "flash attention", metavar="on|off|auto"),
    ] = "auto"
    n_gpu_layers: Annotated[
        int,
        BeforeValidator(words.to_gpu_layers),
        Field(ge=-2),
        Option(
            ("-ngl", "--gpu-layers", "--n-gpu-layers"),
            Group.DEVICE,
            "layers to keep on the GPU: a number, auto (-1) or all (-2)",
            metavar="N",
            default_text="auto",
        ),
    ] = -1
    kv_offload: Annotated[
        Switch,
        Option(
            ("-kvo", "--kv-offload"),
            Group.DEVICE,
            "keep the KV cache on the GPU",
            negative=("-nkvo",),
        ),
    ] = True
    split_mode: Annotated[
        Literal["none", "layer", "row", "tensor"],
        Option(
            ("-sm", "--split-mode"),
            Group.DEVICE,
            "how several GPUs share the model",
            metavar="MODE",
        ),
    ] = "layer"
    tensor_split: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...],
        BeforeValidator(words.to_proportions),
        Option(
            ("-ts", "--tensor-split"),
            Group.DEVICE,
            "share of the model for each GPU, such as 3,1",
            metavar="X,Y,...",
        ),
    ] = ()
    main_gpu: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("-mg", "--main-gpu"),
            Group.DEVICE,
            "the GPU that holds the model (split mode none) or the small tensors (row)",
            metavar="INDEX",
        ),
    ] = 0

    # --- Speculative decoding ------------------------------------------------------------

    spec_type: Annotated[
        Words,
        AfterValidator(spec_methods),
        Option(
            ("--spec-type",),
            Group.SPECULATION,
            "who guesses tokens ahead, comma-separated, each request's first that has a guess: "
            "ngram-simple and ngram-mod look up what followed the last tokens before, in the same "
            "text and in everybody's; draft-simple asks the draft model; or none",
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
            "GGUF file of a small model with the same vocabulary that guesses ahead; with "
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
            "most tokens that the draft model guesses at once; it is a bound, as the length "
            "follows what pays (llama-server always guesses so many, and its default is 3)",
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
            "the draft model stops before a token that it gives less probability than this",
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
            "CPU threads of the draft model for guessing; -1 or 0 takes --threads",
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
        BeforeValidator(words.to_gpu_layers),
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
            "ngram-simple: latest tokens that must stand in the text once more (llama-server's "
            "default is 12; here what is guessed wrong is soon guessed no more)",
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
            "ngram-simple: most of the tokens after them that are guessed at once",
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
            "ngram-simple: how often they must stand there",
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
            "ngram-mod: latest tokens that must have been seen before, in any text of the same "
            "cache_salt (llama-server's default is 24)",
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
            "ngram-mod: shorter guesses are thrown away (llama-server's default is 48)",
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
            "ngram-mod: most tokens that are guessed at once",
            env="LLAMAPACK_SPEC_NGRAM_MOD_N_MAX",
            metavar="N",
        ),
    ] = 64
    measure_costs: Annotated[
        Switch,
        Option(
            ("--measure-costs",),
            Group.SPECULATION,
            "time steps by their number of tokens at the first start, in seconds, which tells how "
            "far guessing pays and what is computed together; kept in the user's cache folder",
            env="LLAMAPACK_MEASURE_COSTS",
        ),
    ] = True

    # --- Sampling defaults ---------------------------------------------------------------

    samplers: Annotated[
        tuple[str, ...],
        BeforeValidator(to_samplers),
        Option(
            ("--samplers",),
            Group.SAMPLING,
            f"samplers in the order in which they run, separated by ; (out of {', '.join(NAMES)})",
            metavar="NAMES",
            default_text="the first nine",
            spellings=(
                Spelling(
                    ("--sampler-seq", "--sampling-seq"),
                    "the same as one letter for each sampler, such as edskypmxt",
                    "LLAMA_ARG_SAMPLER_SEQ",
                    convert=names_from_codes,
                    metavar="LETTERS",
                ),
            ),
        ),
    ] = DEFAULT_ORDER
    seed: Annotated[
        Whole,
        Field(ge=-1, le=2**32 - 1),
        Option(
            ("-s", "--seed"),
            Group.SAMPLING,
            "seed of the random numbers; -1 draws one for each request",
            metavar="N",
        ),
    ] = -1
    temp: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--temp", "--temperature"),
            Group.SAMPLING,
            "temperature; 0 always takes the likeliest token",
            env="LLAMA_ARG_TEMPERATURE",
            metavar="X",
        ),
    ] = 0.8
    top_k: Annotated[
        Whole,
        Option(
            ("--top-k",), Group.SAMPLING, "keep the K likeliest tokens; 0 keeps all", metavar="K"
        ),
    ] = 40
    top_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--top-p",),
            Group.SAMPLING,
            "keep the likeliest tokens that add up to this probability; 1 keeps all",
            metavar="P",
        ),
    ] = 0.95
    min_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--min-p",),
            Group.SAMPLING,
            "drop tokens below this share of the likeliest one's probability; 0 drops none",
            metavar="P",
        ),
    ] = 0.05
    top_n_sigma: Annotated[
        Number,
        Option(
            ("--top-nsigma", "--top-n-sigma"),
            Group.SAMPLING,
            "keep tokens within this many standard deviations of the best logit; -1 is off",
            metavar="X",
        ),
    ] = -1.0
    xtc_probability: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--xtc-probability",),
            Group.SAMPLING,
            "chance that XTC removes the top choices; 0 is off",
            metavar="P",
        ),
    ] = 0.0
    xtc_threshold: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--xtc-threshold",),
            Group.SAMPLING,
            "probability from which XTC counts a token as a top choice; above 0.5 is off",
            metavar="P",
        ),
    ] = 0.1
    typical_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--typical", "--typical-p"),
            Group.SAMPLING,
            "probability mass of locally typical sampling; 1 is off",
            metavar="P",
        ),
    ] = 1.0
    repeat_last_n: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--repeat-last-n",),
            Group.SAMPLING,
            "tokens that the penalties look back on; 0 is off",
            metavar="N",
        ),
    ] = 64
    repeat_penalty: Annotated[
        Number,
        Field(gt=0),
        Option(
            ("--repeat-penalty",),
            Group.SAMPLING,
            "divides the logits of tokens seen before; 1 is off",
            metavar="X",
        ),
    ] = 1.0
    presence_penalty: Annotated[
        Number,
        Option(
            ("--presence-penalty",),
            Group.SAMPLING,
            "subtracted once from tokens seen before; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    frequency_penalty: Annotated[
        Number,
        Option(
            ("--frequency-penalty",),
            Group.SAMPLING,
            "subtracted for each time that a token was seen; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dry_multiplier: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--dry-multiplier",),
            Group.SAMPLING,
            "strength of DRY, which punishes repeated passages; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dry_base: Annotated[
        Number,
        Field(ge=1),
        Option(
            ("--dry-base",),
            Group.SAMPLING,
            "how fast DRY's penalty grows with the passage's length",
            metavar="X",
        ),
    ] = 1.75
    dry_allowed_length: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--dry-allowed-length",),
            Group.SAMPLING,
            "longest repeated passage, in tokens, that DRY lets pass",
            metavar="N",
        ),
    ] = 2
    dry_penalty_last_n: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--dry-penalty-last-n",),
            Group.SAMPLING,
            "tokens that DRY looks back on; 0 is off",
            metavar="N",
        ),
    ] = 64
    dry_sequence_breakers: Annotated[
        tuple[str, ...],
        BeforeValidator(words.to_sequence_breakers),
        Option(
            ("--dry-sequence-breaker", "--dry-sequence-breakers"),
            Group.SAMPLING,
            "text that ends a passage for DRY, replacing the default ones; none for no breakers",
            metavar="TEXT",
            default_text="newline, colon, double quote, asterisk",
            repeatable=True,
        ),
    ] = ("\n", ":", '"', "*")
    adaptive_target: Annotated[
        Number,
        Field(le=1),
        Option(
            ("--adaptive-target",),
            Group.SAMPLING,
            "adaptive-p: probability to aim at; negative is off",
            metavar="P",
        ),
    ] = -1.0
    adaptive_decay: Annotated[
        Number,
        Field(ge=0, le=0.99),
        Option(
            ("--adaptive-decay",),
            Group.SAMPLING,
            "adaptive-p: how slowly its target moves",
            metavar="X",
        ),
    ] = 0.9
    dynatemp_range: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--dynatemp-range",),
            Group.SAMPLING,
            "how far the temperature may move with the entropy; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dynatemp_exp: Annotated[
        Number,
        Option(
            ("--dynatemp-exp",),
            Group.SAMPLING,
            "exponent that maps the entropy to the temperature",
            metavar="X",
        ),
    ] = 1.0
    mirostat: Annotated[
        Whole,
        Field(ge=0, le=2),
        Option(
            ("--mirostat",),
            Group.SAMPLING,
            "Mirostat version, in place of all other samplers but temperature; 0 is off",
            metavar="N",
        ),
    ] = 0
    mirostat_lr: Annotated[
        Number,
        Option(("--mirostat-lr",), Group.SAMPLING, "Mirostat's learning rate (eta)", metavar="X"),
    ] = 0.1
    mirostat_ent: Annotated[
        Number,
        Option(("--mirostat-ent",), Group.SAMPLING, "Mirostat's target entropy (tau)", metavar="X"),
    ] = 5.0
    ignore_eos: Annotated[
        Switch,
        Option(("--ignore-eos",), Group.SAMPLING, "never let the model end its answer"),
    ] = False
    logit_bias: Annotated[
        tuple[tuple[int, Annotated[float, Field(allow_inf_nan=True)]], ...],
        BeforeValidator(words.to_logit_bias),
        Option(
            ("-l", "--logit-bias"),
            Group.SAMPLING,
            "bias for a token id, such as 15043+1 or 15043-inf",
            metavar="ID(+|-)X",
            repeatable=True,
        ),
    ] = ()
    grammar: Annotated[
        str | None,
        Option(("--grammar",), Group.SAMPLING, "GBNF that every answer follows", metavar="GBNF"),
    ] = None
    grammar_file: Annotated[
        FilePath | None,
        Option(("--grammar-file",), Group.SAMPLING, "file with such a grammar", metavar="FILE"),
    ] = None
    json_schema: Annotated[
        dict[str, object] | None,
        BeforeValidator(words.to_json_object),
        Option(
            ("-j", "--json-schema"),
            Group.SAMPLING,
            "JSON Schema that every answer follows",
            metavar="JSON",
        ),
    ] = None
    json_schema_file: Annotated[
        FilePath | None,
        Option(
            ("-jf", "--json-schema-file"),
            Group.SAMPLING,
            "file with such a schema",
            metavar="FILE",
        ),
    ] = None

    # --- Embeddings ----------------------------------------------------------------------

    embeddings: Annotated[
        Switch,
        Option(
            ("--embedding", "--embeddings"),
            Group.EMBEDDING,
            "serve embeddings, beside answers where the model gives any",
        ),
    ] = False
    pooling: Annotated[
        Literal["none", "mean", "cls", "last", "rank"] | None,
        Option(
            ("--pooling",),
            Group.EMBEDDING,
            "how the outputs of a text become one vector; of a decoder only last lets texts be "
            "longer than --ubatch-size, and reuse the cache",
            metavar="WAY",
            default_text="from the model",
        ),
    ] = None
    reranking: Annotated[
        Switch,
        Option(
            ("--rerank", "--reranking"),
            Group.EMBEDDING,
            "serve /rerank, with a model made for it: --embeddings with --pooling rank",
        ),
    ] = False
    embd_normalize: Annotated[
        Whole,
        Field(ge=-1, le=64),
        Option(
            ("--embd-normalize",),
            Group.EMBEDDING,
            "length of vectors for a request that doesn't say: -1 as they are, 0 by the largest "
            "entry, 2 Euclidean, other numbers p-norms",
            env="LLAMAPACK_EMBD_NORMALIZE",
            metavar="N",
        ),
    ] = 2

    # --- Server --------------------------------------------------------------------------

    host: Annotated[
        Words,
        AfterValidator(_hosts),
        Option(
            ("--host",),
            Group.SERVER,
            "addresses to listen on, comma-separated; a path that ends in .sock is a UNIX socket",
            metavar="HOSTS",
            repeatable=True,
        ),
    ] = ("127.0.0.1",)
    port: Annotated[
        Whole,
        Field(ge=0, le=65535),
        Option(("--port",), Group.SERVER, "port to listen on; 0 takes a free one", metavar="PORT"),
    ] = 8080
    api_prefix: Annotated[
        str,
        AfterValidator(_prefix),
        Option(
            ("--api-prefix",),
            Group.SERVER,
            "path under which every route is served, such as /llm",
            metavar="PATH",
        ),
    ] = ""
    api_key: Annotated[
        Words,
        Field(repr=False),
        Option(
            ("--api-key",),
            Group.SERVER,
            "keys that clients may use, comma-separated; none means open to all",
            env="LLAMA_API_KEY",
            metavar="KEYS",
            repeatable=True,
        ),
    ] = ()
    api_key_file: Annotated[
        FilePath | None,
        Option(
            ("--api-key-file",),
            Group.SERVER,
            "file with one key a line; lines that start with # are comments",
            metavar="FILE",
        ),
    ] = None
    api_keys_toml: Annotated[
        FilePath | None,
        Option(
            ("--api-keys-toml",),
            Group.SERVER,
            "TOML file of named keys with limits, read again on SIGHUP; see docs/access.md",
            env="LLAMAPACK_API_KEYS_TOML",
            metavar="FILE",
        ),
    ] = None
    cors_origins: Annotated[
        Words,
        AfterValidator(_origins),
        Option(
            ("--cors-origins",),
            Group.SERVER,
            "origins whose web pages may use the server, comma-separated; * is any",
            metavar="ORIGINS",
            default_text="none",
            repeatable=True,
        ),
    ] = ()
    cors_methods: Annotated[
        Words,
        Option(
            ("--cors-methods",),
            Group.SERVER,
            "methods that those pages may use, comma-separated",
            metavar="METHODS",
            repeatable=True,
        ),
    ] = ("GET", "POST")
    cors_headers: Annotated[
        Words,
        Option(
            ("--cors-headers",),
            Group.SERVER,
            "headers that those pages may send, comma-separated; * is any",
            metavar="HEADERS",
            repeatable=True,
        ),
    ] = ("*",)
    cors_credentials: Annotated[
        Switch,
        Option(
            ("--cors-credentials",),
            Group.SERVER,
            "let those pages send cookies and stored credentials; never with --cors-origins *",
        ),
    ] = False
    ssl_key_file: Annotated[
        FilePath | None,
        Option(("--ssl-key-file",), Group.SERVER, "private key for TLS, PEM", metavar="FILE"),
    ] = None
    ssl_cert_file: Annotated[
        FilePath | None,
        Option(("--ssl-cert-file",), Group.SERVER, "certificate for TLS, PEM", metavar="FILE"),
    ] = None
    timeout: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("-to", "--timeout"),
            Group.SERVER,
            "seconds that one read from or write to a client may take",
            metavar="S",
        ),
    ] = 3600
    max_body_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("--max-body-size",),
            Group.SERVER,
            "MiB that the body of a request may have; larger ones are answered 413",
            env="LLAMAPACK_MAX_BODY_SIZE",
            metavar="MIB",
        ),
    ] = 16
    shutdown_delay: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--shutdown-delay",),
            Group.SERVER,
            "seconds in which new requests are still taken once the server was told to stop, until "
            "proxies have heard that it isn't ready",
            env="LLAMAPACK_SHUTDOWN_DELAY",
            metavar="S",
        ),
    ] = 0
    shutdown_timeout: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--shutdown-timeout",),
            Group.SERVER,
            "seconds that running answers get to end after that",
            env="LLAMAPACK_SHUTDOWN_TIMEOUT",
            metavar="S",
        ),
    ] = 30
    hang_timeout: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--hang-timeout",),
            Group.SERVER,
            "seconds without a sign of life after which the engine is killed and started again; "
            "must be longer than the longest step; 0 is never",
            env="LLAMAPACK_HANG_TIMEOUT",
            metavar="S",
        ),
    ] = 120
    sse_ping_interval: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--sse-ping-interval",),
            Group.SERVER,
            "seconds of silence on a stream before a comment is sent to keep it open; -1 is never",
            metavar="S",
        ),
    ] = 30
    threads_http: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--threads-http",),
            Group.SERVER,
            "accepted for llama-server's sake; without effect, because the server is "
            "asynchronous and needs no thread for a connection",
            metavar="N",
        ),
    ] = -1
    slots: Annotated[
        Switch,
        Option(("--slots",), Group.SERVER, "serve GET /slots", env="LLAMA_ARG_ENDPOINT_SLOTS"),
    ] = True
    slot_save_path: Annotated[
        FilePath | None,
        Option(
            ("--slot-save-path",),
            Group.SERVER,
            "existing folder for what POST /slots/{id} saves and restores",
            env="LLAMAPACK_SLOT_SAVE_PATH",
            metavar="DIR",
            default_text="none",
        ),
    ] = None
    metrics: Annotated[
        Switch,
        Option(
            ("--metrics",),
            Group.SERVER,
            "serve GET /metrics for Prometheus",
            env="LLAMA_ARG_ENDPOINT_METRICS",
        ),
    ] = False
    props: Annotated[
        Switch,
        Option(
            ("--props",),
            Group.SERVER,
            "let POST /props change settings",
            env="LLAMA_ARG_ENDPOINT_PROPS",
        ),
    ] = False

    # --- Chat ----------------------------------------------------------------------------

    jinja: Annotated[
        Switch,
        Option(("--jinja",), Group.CHAT, "render chats with a Jinja template"),
    ] = True
    chat_template: Annotated[
        str | None,
        Option(
            ("--chat-template",),
            Group.CHAT,
            "Jinja chat template",
            metavar="TEMPLATE",
            default_text="from the model",
        ),
    ] = None
    chat_template_file: Annotated[
        FilePath | None,
        Option(
            ("--chat-template-file",),
            Group.CHAT,
            "file with a Jinja chat template",
            metavar="FILE",
        ),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, object],
        BeforeValidator(words.to_json_object),
        Option(
            ("--chat-template-kwargs",),
            Group.CHAT,
            "variables for the chat template, as a JSON object",
            metavar="JSON",
        ),
    ] = {}

    reasoning_format: Annotated[
        Literal["auto", "none", "deepseek"],
        Option(
            ("--reasoning-format",),
            Group.CHAT,
            "where a model's thinking goes, for a request that doesn't say: none leaves it in "
            "content, the others put it in reasoning_content",
            env="LLAMA_ARG_THINK",
            metavar="FORMAT",
        ),
    ] = "auto"
    reasoning: Annotated[
        OnOffAuto,
        Option(
            ("-rea", "--reasoning"),
            Group.CHAT,
            "whether models think that can go without, for a request that doesn't say",
            metavar="WHEN",
        ),
    ] = "auto"
    reasoning_effort: Annotated[
        str,
        Option(
            ("--reasoning-effort",),
            Group.CHAT,
            "how hard to think, such as low, for a request that doesn't say: told to the chat "
            "template, or if that doesn't know the word a limit; see docs/structured-output.md",
            metavar="LEVEL",
        ),
    ] = "default"
    reasoning_budget: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--reasoning-budget",),
            Group.CHAT,
            "most tokens of thinking for a request that doesn't say, after which it is ended; "
            "-1 is no limit",
            env="LLAMA_ARG_THINK_BUDGET",
            metavar="N",
        ),
    ] = -1
    reasoning_budget_message: Annotated[
        str,
        Option(
            ("--reasoning-budget-message",),
            Group.CHAT,
            "text put at the end of thinking that has reached its limit",
            env="LLAMA_ARG_THINK_BUDGET_MESSAGE",
            metavar="TEXT",
            default_text="none",
        ),
    ] = ""

    # --- Logging -------------------------------------------------------------------------

    verbosity: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-lv", "--verbosity", "--log-verbosity"),
            Group.LOGGING,
            "how much to log: 1 errors, 2 warnings, 3 the usual, 4 more, 5 everything",
            env="LLAMA_ARG_LOG_VERBOSITY",
            metavar="N",
            spellings=(
                Spelling(("-v", "--verbose", "--log-verbose"), "same as --verbosity 5", on="5"),
                Spelling(("--log-disable",), "same as --verbosity -1: log nothing", on="-1"),
            ),
        ),
    ] = 3
    log_file: Annotated[
        FilePath | None,
        Option(
            ("--log-file",),
            Group.LOGGING,
            "file to log to",
            metavar="FILE",
            default_text="standard error",
        ),
    ] = None
    log_json: Annotated[
        Switch,
        Option(
            ("--log-jsonl", "--log-json"),
            Group.LOGGING,
            "log one JSON object a line",
            env="LLAMA_ARG_LOG_JSONL",
        ),
    ] = False
    audit_log: Annotated[
        FilePath | None,
        Option(
            ("--audit-log",),
            Group.LOGGING,
            "file that gets one JSON line for each request, opened anew on SIGHUP; - is "
            "standard output",
            env="LLAMAPACK_AUDIT_LOG",
            metavar="FILE",
            default_text="none",
        ),
    ] = None
    audit_log_prompts: Annotated[
        Switch,
        Option(
            ("--audit-log-prompts",),
            Group.LOGGING,
            "put the text of prompts into the audit log",
            env="LLAMAPACK_AUDIT_LOG_PROMPTS",
        ),
    ] = False
    otlp_traces_endpoint: Annotated[
        str | None,
        Option(
            ("--otlp-traces-endpoint",),
            Group.LOGGING,
            "URL of a collector to which OpenTelemetry traces are sent over OTLP and HTTP, such as "
            "http://127.0.0.1:4318/v1/traces; needs the extra otel",
            env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            metavar="URL",
            default_text="none",
        ),
    ] = None
