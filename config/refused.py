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


def _ignored(
    flags: str, reason: str, env: str = "", negative: str = "", *, takes_value: bool = True
) -> Ignored:
    variable = f"LLAMA_ARG_{env}" if env else None
    return Ignored(tuple(flags.split()), reason, variable, tuple(negative.split()), takes_value)


_JINJA = "chats are always rendered with a Jinja template, the model's own or one of llama.cpp's"
_MEDIA = "multimodal input is not supported; use llama-server for images, audio and video"
_MCP = "the server never runs tools; let the client run the tool calls that it gets"
_PARSE = "tool calls are always read; use --reasoning-format none to leave thinking in the content"
_REMOVED = "llama-server has removed this option"
_SYNTHETIC = "drafts come from the model or from text, never from chance; leave it out"

REFUSED: tuple[Refused, ...] = (
    # Context and cache
    _value("--kv-unified-per-slot", "a limit for each slot is not supported; with "
           "--no-kv-unified each slot gets an equal part of --ctx-size", "KV_UNIFIED_PER_SLOT",
           inert=(0,)),
    # Devices and weights
    # Multimodal
    _value("-mm --mmproj", _MEDIA, "MMPROJ"),
    _value("-mmu --mmproj-url", _MEDIA, "MMPROJ_URL"),
    # HTTP
    _switch("--ui-mcp-proxy --webui-mcp-proxy", _MCP, "UI_MCP_PROXY",
            "--no-ui-mcp-proxy --no-webui-mcp-proxy"),
    _value("--tools", _MCP, "TOOLS"),
    _value("--mcp-servers-config", _MCP, "MCP_SERVERS_CONFIG"),
    _value("--mcp-servers-json", _MCP, "MCP_SERVERS_JSON"),
    _switch("-ag --agent", _MCP, "AGENT", "-no-ag --no-agent"),
    # Chat
    _switch("--skip-chat-parsing", _PARSE, "SKIP_CHAT_PARSING", "--no-skip-chat-parsing"),
    _switch("--prefill-assistant", "a trailing assistant message is continued; a request says "
            "otherwise with continue_final_message",
            "PREFILL_ASSISTANT", "--no-prefill-assistant", "on"),
    # Logging
    _value("--log-prompts-dir", "prompts are not written to a folder; use --audit-log with "
           "--audit-log-prompts"),
    # Speculative decoding
    _value("--spec-synth-len", _SYNTHETIC, "SPEC_SYNTH_LEN"),
    _value("--spec-synth-rates", _SYNTHETIC, "SPEC_SYNTH_RATES"),
    _value("--draft --draft-n --draft-max", f"{_REMOVED}; use --spec-draft-n-max or "
           "--spec-ngram-mod-n-max", "DRAFT_MAX"),
    _value("--draft-min --draft-n-min", f"{_REMOVED}; use --spec-draft-n-min or "
           "--spec-ngram-mod-n-min", "DRAFT_MIN"),
    _value("--spec-ngram-size-n", f"{_REMOVED}; use --spec-ngram-simple-size-n"),
    _value("--spec-ngram-size-m", f"{_REMOVED}; use --spec-ngram-simple-size-m"),
    _value("--spec-ngram-min-hits", f"{_REMOVED}; use --spec-ngram-simple-min-hits"),
)  # fmt: skip

_ONE_PRIORITY = "all threads of the engine have one priority; use --prio"
_ONE_POLL = "all threads of the engine wait in the same way; use --poll"
_DEVICE_SAMPLING = "drafts are sampled on the CPU, by the same rules"
_NEEDS_MMPROJ = "it is about --mmproj, which is not supported"
_NEEDS_NGRAM_METHOD = "it is about a method that --spec-type doesn't have"
_UI = "the page keeps its settings in the browser"

IGNORED: tuple[Ignored, ...] = (
    _ignored("--threads-http", "connections share one thread and wait without blocking it",
             "THREADS_HTTP"),
    _ignored("--prio-batch", _ONE_PRIORITY),
    _ignored("--spec-draft-prio --prio-draft", _ONE_PRIORITY),
    _ignored("--spec-draft-prio-batch --prio-batch-draft", _ONE_PRIORITY),
    _ignored("--poll-batch", _ONE_POLL),
    _ignored("--spec-draft-poll --poll-draft", _ONE_POLL),
    _ignored("--spec-draft-poll-batch --poll-batch-draft", _ONE_POLL),
    # Chats
    _ignored("--jinja", _JINJA, "JINJA", "--no-jinja", takes_value=False),
    # Context and cache
    _ignored("--cache-idle-slots", "a prefix stays usable in its idle slot, and moves to host "
             "memory as soon as another request needs the slot or its cells",
             "CACHE_IDLE_SLOTS", "--no-cache-idle-slots", takes_value=False),
    _ignored("-sps --slot-prompt-similarity",
             "a request always gets the slot that leaves the least to compute"),
    _ignored("-dt --defrag-thold", "llama.cpp no longer needs it; llama-server ignores it too",
             "DEFRAG_THOLD"),
    # Sampling
    _ignored("--spec-draft-backend-sampling", _DEVICE_SAMPLING, "SPEC_DRAFT_BACKEND_SAMPLING",
             "--no-spec-draft-backend-sampling", takes_value=False),
    # Multimodal
    _ignored("--mmproj-auto", _NEEDS_MMPROJ, "MMPROJ_AUTO", "--no-mmproj --no-mmproj-auto",
             takes_value=False),
    _ignored("--mmproj-offload", _NEEDS_MMPROJ, "MMPROJ_OFFLOAD", "--no-mmproj-offload",
             takes_value=False),
    _ignored("-mmdev --mmproj-device", _NEEDS_MMPROJ),
    _ignored("--image-min-tokens", _NEEDS_MMPROJ, "IMAGE_MIN_TOKENS"),
    _ignored("--image-max-tokens", _NEEDS_MMPROJ, "IMAGE_MAX_TOKENS"),
    _ignored("--mtmd-batch-max-tokens", _NEEDS_MMPROJ, "MTMD_BATCH_MAX_TOKENS"),
    _ignored("--video-fps", _NEEDS_MMPROJ, "VIDEO_FPS"),
    _ignored("--video-timestamp-interval", _NEEDS_MMPROJ, "VIDEO_TIMESTAMP_INTERVAL"),
    _ignored("--video-ffmpeg-dir", _NEEDS_MMPROJ, "VIDEO_FFMPEG_DIR"),
    _ignored("--media-path", _NEEDS_MMPROJ),
    # HTTP
    _ignored("--ui-config --webui-config", _UI, "UI_CONFIG"),
    _ignored("--ui-config-file --webui-config-file", _UI, "UI_CONFIG_FILE"),
    _ignored("--tools-runtime", "it is about --tools, and the server never runs tools",
             "TOOLS_RUNTIME"),
    # Speculative decoding
    _ignored("--spec-draft-p-split --draft-p-split", "a draft is one sequence of tokens, never a "
             "tree; llama-server ignores it too", "SPEC_DRAFT_P_SPLIT"),
    _ignored("-lcs --lookup-cache-static", _NEEDS_NGRAM_METHOD),
    _ignored("-lcd --lookup-cache-dynamic", _NEEDS_NGRAM_METHOD),
    *(
        _ignored(f"--spec-ngram-map-{kind}-{name}", _NEEDS_NGRAM_METHOD)
        for kind in ("k", "k4v")
        for name in ("size-n", "size-m", "min-hits")
    ),
)  # fmt: skip

FOREIGN: tuple[Refused | Ignored, ...] = (*REFUSED, *IGNORED)
"""All options that are known and have no setting."""
