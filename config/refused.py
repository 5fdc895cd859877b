"""llama-server's options that llamapack knows by name and has no setting for.

There are two kinds. An option in `REFUSED` asks for something that llamapack can't do: it is
refused with its reason wherever it is given, as a flag, a variable or a TOML key. An option in
`IGNORED` asks for nothing that a client could notice: it is accepted, and the log says at start
that it has no effect. To make an option a setting, delete its line here and declare the field in
`config.groups`.
"""

from dataclasses import dataclass

from config.coerce import OFF_WORDS, ON_WORDS
from config.option import key_of


@dataclass(frozen=True)
class ForeignOption:
    """One option of llama-server: its flags, and the reason why there is no setting for it.

    `negative` and `takes_value` tell how to read the option on the command line. A switch is
    `on` by its flag and `off` by its negative.
    """

    flags: tuple[str, ...]
    reason: str
    env: str | None
    negative: tuple[str, ...]
    takes_value: bool

    @property
    def key(self) -> str:
        """The TOML key: the longest flag in snake case."""
        return key_of(max(self.flags, key=len))


@dataclass(frozen=True)
class Refused(ForeignOption):
    """An option that asks for what llamapack can't do.

    The values in `inert` ask for what happens anyway. They are accepted, so that a manifest that
    spells out llama-server's defaults starts.
    """

    inert: tuple[str, ...]

    def is_inert(self, value: object) -> bool:
        """Whether this value asks for what happens anyway."""
        return canonical(value) in self.inert


@dataclass(frozen=True)
class Ignored(ForeignOption):
    """An option that is accepted with any value and has no effect."""

    @property
    def field(self) -> str:
        """What the option is called among given values: its TOML key."""
        return self.key


def canonical(value: object) -> str:
    """A value as text, with every word for on and off reduced to `on` and `off`."""
    text = str(value).strip().lower()
    if text in OFF_WORDS:
        return "off"
    return "on" if text in ON_WORDS else text


def _value(flags: str, reason: str, env: str = "", inert: tuple[object, ...] = ()) -> Refused:
    variable = f"LLAMA_ARG_{env}" if env else None
    harmless = tuple(canonical(value) for value in inert)
    return Refused(tuple(flags.split()), reason, variable, (), True, harmless)


def _switch(
    flags: str, reason: str, env: str = "", negative: str = "", inert: str = "off"
) -> Refused:
    variable = f"LLAMA_ARG_{env}" if env else None
    return Refused(tuple(flags.split()), reason, variable, tuple(negative.split()), False, (inert,))


_AFFINITY = "binding threads to CPUs is not supported; use taskset or a CPU set"
_POLL = "the engine chooses how its threads wait"
_PRIO = "the engine's priority is not configurable; use nice"
_DRAFT_TENSORS = "placing single tensors is not supported; use --spec-draft-ngl"
_NGRAMS = "of the n-gram methods only ngram-simple and ngram-mod are supported"
_SYNTHETIC = "drafts come from the model or from text, never from chance"
_MEDIA = "multimodal input is not supported"
_VECTOR = "control vectors are not supported"
_IDLE_SLOTS = (
    "a prefix moves to host memory when another request needs its slot, not while the slot is "
    "idle; see --cache-ram"
)
_JINJA = "chats are always rendered with a Jinja template"
_CHECKPOINTS = "context checkpoints are not supported yet"
_TENSORS = "placing single tensors is not supported; use --n-gpu-layers"
_ROUTER = "serving several models is not supported yet"
_TOOLS = "the server never runs tools; it returns tool calls to the client"
_UI = "there is no web interface"
_PRESERVE = "set the chat template's own variable with --chat-template-kwargs"
_PARSE = "tool calls are always read; use --reasoning-format none to leave thinking in the content"
_FIT = "settings are never changed to fit the device's memory; set them to what fits"
_SHORTCUT = "built-in model shortcuts are not supported; use --hf-repo"
_LOGS = "log lines have one fixed layout"
_REMOVED = "llama-server has removed this option"

REFUSED: tuple[Refused, ...] = (
    _switch("-cl --cache-list", "listing the cache is not supported; use `hf cache ls`"),
    _switch("--completion-bash", "shell completion is not supported"),
    _switch("--list-devices", "listing devices is not supported"),
    # CPU
    _value("-C --cpu-mask", _AFFINITY),
    _value("-Cr --cpu-range", _AFFINITY),
    _value("--cpu-strict", _AFFINITY, inert=(0,)),
    _value("-Cb --cpu-mask-batch", _AFFINITY),
    _value("-Crb --cpu-range-batch", _AFFINITY),
    _value("--cpu-strict-batch", _AFFINITY, inert=(0,)),
    _value("--prio", _PRIO, inert=(0,)),
    _value("--prio-batch", _PRIO, inert=(0,)),
    _value("--poll", _POLL),
    _value("--poll-batch", _POLL),
    _value("--numa", "NUMA strategies are not supported; use numactl", "NUMA"),
    # Context and cache
    _value("--kv-unified-per-slot", "a limit for each slot is not supported", "KV_UNIFIED_PER_SLOT",
           inert=(0,)),
    _value("-ctxcp --ctx-checkpoints --swa-checkpoints", _CHECKPOINTS, "CTX_CHECKPOINTS",
           inert=(0,)),
    _value("-cms --checkpoint-min-step", _CHECKPOINTS, "CHECKPOINT_MIN_SPACING_NT"),
    _switch("--cache-idle-slots", _IDLE_SLOTS, "CACHE_IDLE_SLOTS", "--no-cache-idle-slots"),
    _value("-sps --slot-prompt-similarity",
           "a request always gets the slot that shares the longest prefix"),
    _value("-dt --defrag-thold", _REMOVED, "DEFRAG_THOLD", inert=(-1,)),
    # Devices and weights
    _switch("--no-host", "host buffers are always used", "NO_HOST"),
    _switch("--op-offload", "operations are always offloaded where this is faster",
            negative="--no-op-offload", inert="on"),
    _value("--rpc", "remote devices are not supported", "RPC"),
    _value("-lzm --lazy-mode", "reading tensors on demand is not supported", "LAZY_MODE",
           inert=("auto",)),
    _value("-dev --device", "choosing devices is not supported; use the driver's variable, "
           "such as CUDA_VISIBLE_DEVICES", "DEVICE"),
    _value("-ot --override-tensor", _TENSORS, "OVERRIDE_TENSOR"),
    _switch("-cmoe --cpu-moe", _TENSORS, "CPU_MOE"),
    _value("-ncmoe --n-cpu-moe", _TENSORS, "N_CPU_MOE", inert=(0,)),
    _value("-ncffn --n-cpu-ffn", _TENSORS, "N_CPU_FFN", inert=(0,)),
    _value("-fit --fit", _FIT, "FIT", inert=("off",)),
    _value("-fitt --fit-target", _FIT, "FIT_TARGET"),
    _value("-fitc --fit-ctx", _FIT, "FIT_CTX"),
    _switch("--check-tensors", "checking every tensor's values is not supported"),
    _value("--override-kv", "overriding the model's metadata is not supported"),
    _switch("--perf", "llama.cpp's own timings are not printed; see /metrics", "PERF", "--no-perf"),
    # Adapters
    _value("--control-vector", _VECTOR),
    _value("--control-vector-scaled", _VECTOR),
    _value("--control-vector-layer-range", _VECTOR),
    # Where the model comes from
    _value("-mu --model-url", "fetching a model by URL is not supported; download it and use "
           "--model, or use --hf-repo", "MODEL_URL"),
    _value("-dr --docker-repo", "Docker's model registry is not supported; use --hf-repo",
           "DOCKER_REPO"),
    *(
        _switch(f"--{name}", _SHORTCUT)
        for name in (
            "embd-gemma-default",
            "fim-qwen-1.5b-default",
            "fim-qwen-3b-default",
            "fim-qwen-7b-default",
            "fim-qwen-7b-spec",
            "fim-qwen-14b-spec",
            "fim-qwen-30b-default",
            "gpt-oss-20b-default",
            "gpt-oss-120b-default",
            "vision-gemma-4b-default",
            "vision-gemma-12b-default",
        )
    ),
    _value("--models-dir", _ROUTER, "MODELS_DIR"),
    _value("--models-preset", _ROUTER, "MODELS_PRESET"),
    _value("--models-max", _ROUTER, "MODELS_MAX"),
    _switch("--models-autoload", _ROUTER, "MODELS_AUTOLOAD", "--no-models-autoload"),
    _value("--sleep-idle-seconds", "unloading an idle model is not supported yet", inert=(-1,)),
    # Prompts and sampling
    _switch("-e --escape", "escapes in --dry-sequence-breaker are always read",
            negative="--no-escape", inert="on"),
    _value("-r --reverse-prompt", "stop strings belong in the request, as `stop`"),
    _switch("-sp --special", "printing special tokens is not supported"),
    _switch("--spm-infill", "fill-in-the-middle is not supported yet"),
    _switch("-bs --backend-sampling", "sampling on the device is not supported",
            "BACKEND_SAMPLING"),
    # Multimodal
    _value("-mm --mmproj", _MEDIA, "MMPROJ"),
    _value("-mmu --mmproj-url", _MEDIA, "MMPROJ_URL"),
    _switch("--mmproj-auto", _MEDIA, "MMPROJ_AUTO", "--no-mmproj --no-mmproj-auto"),
    _switch("--mmproj-offload", _MEDIA, "MMPROJ_OFFLOAD", "--no-mmproj-offload"),
    _value("-mmdev --mmproj-device", _MEDIA),
    _value("--image-min-tokens", _MEDIA, "IMAGE_MIN_TOKENS"),
    _value("--image-max-tokens", _MEDIA, "IMAGE_MAX_TOKENS"),
    _value("--mtmd-batch-max-tokens", _MEDIA, "MTMD_BATCH_MAX_TOKENS"),
    _value("--video-fps", _MEDIA, "VIDEO_FPS"),
    _value("--video-timestamp-interval", _MEDIA, "VIDEO_TIMESTAMP_INTERVAL"),
    _value("--video-ffmpeg-dir", _MEDIA, "VIDEO_FFMPEG_DIR"),
    _value("--media-path", _MEDIA),
    # HTTP
    _switch("--reuse-port", "sharing the port with another process is not supported",
            "REUSE_PORT"),
    _value("--path", "serving files is not supported", "STATIC_PATH"),
    _switch("--ui --webui", _UI, "UI", "--no-ui --no-webui"),
    _value("--ui-config --webui-config", _UI, "UI_CONFIG"),
    _value("--ui-config-file --webui-config-file", _UI, "UI_CONFIG_FILE"),
    _switch("--ui-mcp-proxy --webui-mcp-proxy", _UI, "UI_MCP_PROXY",
            "--no-ui-mcp-proxy --no-webui-mcp-proxy"),
    _value("--tools", _TOOLS, "TOOLS"),
    _value("--tools-runtime", _TOOLS, "TOOLS_RUNTIME"),
    _value("--mcp-servers-config", _TOOLS, "MCP_SERVERS_CONFIG"),
    _value("--mcp-servers-json", _TOOLS, "MCP_SERVERS_JSON"),
    _switch("-ag --agent", _TOOLS, "AGENT", "-no-ag --no-agent"),
    # Chat
    _switch("--jinja", _JINJA, "JINJA", "--no-jinja", "on"),
    _switch("--reasoning-preserve", _PRESERVE, "REASONING_PRESERVE", "--no-reasoning-preserve"),
    _switch("--skip-chat-parsing", _PARSE, "SKIP_CHAT_PARSING", "--no-skip-chat-parsing"),
    _switch("--prefill-assistant", "how a trailing assistant message is read is not configurable",
            "PREFILL_ASSISTANT", "--no-prefill-assistant", "on"),
    # Logging
    _value("--log-prompts-dir", "writing prompts to files is not supported"),
    _value("--log-colors", _LOGS, "LOG_COLORS", inert=("off", "auto")),
    _switch("--log-prefix", _LOGS, "LOG_PREFIX", "--no-log-prefix", "on"),
    _switch("--log-timestamps", _LOGS, "LOG_TIMESTAMPS", "--no-log-timestamps", "on"),
    # Speculative decoding
    _value("--spec-draft-p-split --draft-p-split",
           "a draft is one sequence of tokens, never a tree",
           "SPEC_DRAFT_P_SPLIT", inert=(0.1,)),
    _value("--spec-draft-device -devd --device-draft", "choosing devices is not supported; use "
           "the driver's variable, such as CUDA_VISIBLE_DEVICES"),
    _switch("--spec-draft-backend-sampling", "sampling on the device is not supported",
            "SPEC_DRAFT_BACKEND_SAMPLING", "--no-spec-draft-backend-sampling"),
    _value("--spec-draft-cpu-mask -Cd --cpu-mask-draft", _AFFINITY),
    _value("--spec-draft-cpu-range -Crd --cpu-range-draft", _AFFINITY),
    _value("--spec-draft-cpu-strict --cpu-strict-draft", _AFFINITY, inert=(0,)),
    _value("--spec-draft-cpu-mask-batch -Cbd --cpu-mask-batch-draft", _AFFINITY),
    _value("--spec-draft-cpu-strict-batch --cpu-strict-batch-draft", _AFFINITY, inert=(0,)),
    _value("--spec-draft-prio --prio-draft", _PRIO, inert=(0,)),
    _value("--spec-draft-prio-batch --prio-batch-draft", _PRIO, inert=(0,)),
    _value("--spec-draft-poll --poll-draft", _POLL),
    _value("--spec-draft-poll-batch --poll-batch-draft", _POLL),
    _value("--spec-draft-override-tensor -otd --override-tensor-draft", _DRAFT_TENSORS),
    _switch("--spec-draft-cpu-moe -cmoed --cpu-moe-draft", _DRAFT_TENSORS, "SPEC_DRAFT_CPU_MOE"),
    _value("--spec-draft-n-cpu-moe --spec-draft-ncmoe -ncmoed --n-cpu-moe-draft", _DRAFT_TENSORS,
           "SPEC_DRAFT_N_CPU_MOE", inert=(0,)),
    _value("--spec-synth-len", _SYNTHETIC, "SPEC_SYNTH_LEN"),
    _value("--spec-synth-rates", _SYNTHETIC, "SPEC_SYNTH_RATES"),
    _value("-lcs --lookup-cache-static", _NGRAMS),
    _value("-lcd --lookup-cache-dynamic", _NGRAMS),
    *(
        _value(f"--spec-ngram-map-{kind}-{name}", _NGRAMS)
        for kind in ("k", "k4v")
        for name in ("size-n", "size-m", "min-hits")
    ),
    _value("--draft --draft-n --draft-max", f"{_REMOVED}; use --spec-draft-n-max or "
           "--spec-ngram-mod-n-max", "DRAFT_MAX"),
    _value("--draft-min --draft-n-min", f"{_REMOVED}; use --spec-draft-n-min or "
           "--spec-ngram-mod-n-min", "DRAFT_MIN"),
    _value("--spec-ngram-size-n", f"{_REMOVED}; use --spec-ngram-simple-size-n"),
    _value("--spec-ngram-size-m", f"{_REMOVED}; use --spec-ngram-simple-size-m"),
    _value("--spec-ngram-min-hits", f"{_REMOVED}; use --spec-ngram-simple-min-hits"),
)  # fmt: skip

IGNORED: tuple[Ignored, ...] = (
    Ignored(
        ("--threads-http",),
        "connections share one thread and wait without blocking it",
        "LLAMA_ARG_THREADS_HTTP",
        (),
        True,
    ),
)

FOREIGN: tuple[Refused | Ignored, ...] = (*REFUSED, *IGNORED)
"""All options that are known and have no setting."""
