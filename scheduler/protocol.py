"""What crosses the socket between the API process and the engine process.

Tokens cross, text never does. Both directions are tagged unions of immutable structs in msgpack;
a token is an index into the model's vocabulary, a time is seconds of CLOCK_MONOTONIC, which is
one clock for all processes of a machine.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from grammars.constraint import Constraint

UNLIMITED = -1
"""As a count of tokens to generate: until the model ends its answer or the context is full."""

LENGTH = struct.Struct("<I")
"""What stands before every message on the socket."""

DEFAULT_SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)


LoraSet = tuple[tuple[str, float], ...]
"""The adapters that a sequence is computed with: the digest of each one's content, and its scale.
Sorted, without repetition, and no scale is 0, so that equal sets are equal values."""


class DraftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load a draft model; its context has as many slots and cells as the model's own."""

    model_path: str
    n_threads: int = 0
    """Threads for drafting; 0 takes the model's own."""
    n_threads_batch: int = 0
    n_gpu_layers: int = -1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


class LookupConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How far back tokens must repeat before what followed them is proposed again."""

    simple_size: int = 4
    """Tokens at the end of a sequence that must stand in it once more (`ngram-simple`)."""
    simple_min_hits: int = 1
    """How often they must stand there."""
    shared_size: int = 12
    """The same for the memory that all sequences of a salt share (`ngram-mod`)."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load the model and lay out its context. Names and units are llama.cpp's."""

    model_path: str
    adapter_paths: tuple[str, ...] = ()
    """LoRA adapters to have at hand."""
    embeddings: bool = False
    """Whether sequences may ask for embeddings; costs memory for the outputs of whole prompts."""
    pooling: str = ""
    """How the outputs of a prompt become one vector; "" takes the model's way."""
    n_slots: int = 4
    n_ctx: int = 0
    """Cells of the whole KV cache, shared by the slots; 0 takes the model's training context."""
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int = 0
    """Threads for decoding; 0 means one per physical core."""
    n_threads_batch: int = 0
    n_gpu_layers: int = -1
    main_gpu: int = 0
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    flash_attn: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    kv_unified: bool = False
    kv_offload: bool = True
    op_offload: bool = True
    swa_full: bool = False
    context_shift: bool = False
    """Sequences may ask for their cells to be shifted; refused if the model's memory can't."""
    cache_reuse: bool = False
    """The same for the reuse of chunks."""
    load_mode: str = "auto"
    use_repack: bool = True
    """Rearrange weights at load for this CPU's matrix instructions."""
    check_tensors: bool = False
    rope_scaling: str = ""
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_orig_ctx: int = 0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_beta_fast: float = -1.0
    warmup: bool = True
    cache_ram_bytes: int = 0
    """Host memory for prefixes that left their slot."""
    cache_disk: str = ""
    """A folder for the hottest prefixes, written at the end and read at the start; "" is none."""
    cache_disk_bytes: int = 0
    itl_target_ms: float = 100.0
    """Milliseconds between tokens that running streams should see while others prefill."""
    draft: DraftConfig | None = None
    """A small model that guesses ahead (`draft-simple`)."""
    lookup: LookupConfig = LookupConfig()
    max_draft_tokens: int = 0
    """The most that any request may have guessed at once; 0 is no speculation."""
    measure_costs: bool = True
    """Time steps by their number of rows before the first request, unless a file has it."""
    cost_folder: str = ""
    """Where such measurements are kept; "" keeps none."""
    log_level: str = "INFO"
    log_json: bool = False
    log_file: str = ""
    """A file to append to; "" is standard error."""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one sequence picks its tokens; names and defaults are llama-server's."""

    seed: int = 0
    samplers: tuple[str, ...] = DEFAULT_SAMPLERS
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    typical_p: float = 1.0
    min_keep: int = 0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int = -1
    """Alternatives to report with each token; 0 reports the token alone, -1 nothing."""
    post_sampling_probs: bool = False
    """Report the probabilities that the samplers left, rather than the model's own."""


class ContextShift(msgspec.Struct, frozen=True, array_like=True):
    """What an answer that outgrows its slot does instead of ending."""

    keep: int
    """Tokens at the beginning that are never discarded."""
    discard: int
    """Tokens after those to discard each time; 0 is half of them."""


class DraftMethod(enum.StrEnum):
    """Who guesses the next tokens; the names are llama-server's."""

    LOOKUP = "ngram-simple"
    """What followed the last tokens where they stood before in the same sequence."""
    SHARED_LOOKUP = "ngram-mod"
    """What followed them in any sequence of the same salt."""
    MODEL = "draft-simple"
    """The draft model."""


class DraftBounds(msgspec.Struct, frozen=True, array_like=True):
    """Tokens of a draft."""

    n_max: int
    n_min: int = 0
    """Shorter drafts are thrown away."""


class Speculation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one sequence's tokens are guessed ahead, to be verified several at once.

    The engine drafts as far as its measurements say that it pays; these are the bounds.
    """

    methods: tuple[DraftMethod, ...]
    """Asked in this order; the first that has a guess is taken."""
    n_max: int
    """Tokens of a draft, whoever guesses them."""
    n_min: int = 0
    """Shorter drafts are thrown away."""
    p_min: float = 0.0
    """The draft model stops before a token that it gives less probability than this."""
    own_bounds: dict[DraftMethod, DraftBounds] = {}
    """Those of methods for which `n_max` and `n_min` don't hold."""

    def bounds(self, method: DraftMethod) -> DraftBounds:
        """The bounds of a draft by this method."""
        return self.own_bounds.get(method) or DraftBounds(self.n_max, self.n_min)


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first command: load the model. The engine answers `Ready` or `LoadFailed`."""

    config: EngineConfig


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Start one sequence. The engine answers with events and exactly one `Finished`."""

    request_id: int
    prompt: list[int]
    sampling: SamplingParams
    embedding: bool = False
    """Answer with one `Embedded` instead of tokens."""
    resumed: list[int] = []
    """Tokens of the answer that an engine before this one had produced already."""
    max_tokens: int = UNLIMITED
    """Tokens of the answer, `resumed` included; 0 computes the prompt and generates nothing."""
    context_shift: ContextShift | None = None
    """How to go on when the slot is full; None ends the answer there."""
    min_reused_chunk: int = 0
    """Cells of its slot that hold so many tokens of the prompt in a row, at other positions, are
    moved and reused, which is an approximation; 0 reuses prefixes only."""
    constraint: Constraint | None = None
    lora: LoraSet = ()
    cache_prompt: bool = True
    cache_salt: str = ""
    """Prefixes are shared only among sequences with the same salt and the same adapters."""
    slot: int | None = None
    """Run in this slot and no other."""
    tenant: str = ""
    """Whose request this is: tenants take turns in the queue."""
    weight: float = 1.0
    """A tenant of weight 2 gets twice the share of one of weight 1; above 0."""
    priority: int = 0
    """Higher ones go first, whoever waits."""
    report_progress: bool = False
    speculation: Speculation | None = None
    """None computes one token at a time."""
    num_followers: int = 0
    """Requests that were being read when this one was sent: they may follow at once."""


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Stop these sequences; unknown ids (they may have just finished) are no error."""

    request_ids: list[int]


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Ask for one `SlotReport`."""

    query_id: int


class SaveSlot(msgspec.Struct, frozen=True, tag=True):
    """Write what an idle slot holds to a file. Like the two that follow it is answered by one
    `SlotChanged` or `SlotRefused`."""

    query_id: int
    slot: int
    path: str


class RestoreSlot(msgspec.Struct, frozen=True, tag=True):
    """Put into an idle slot what a file holds that `SaveSlot` wrote."""

    query_id: int
    slot: int
    path: str


class EraseSlot(msgspec.Struct, frozen=True, tag=True):
    """Empty an idle slot; what host memory has of it stays."""

    query_id: int
    slot: int


SlotCommand = SaveSlot | RestoreSlot | EraseSlot


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """End the process once this message is read, and prefixes are saved to disk if that is on."""


Command = Load | Submit | Abort | Inspect | SlotCommand | Shutdown


class FinishReason(enum.StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    """The model produced an end-of-generation token, which is the answer's last token."""
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"
    EMBEDDED = "embedded"
    """What was asked for was an embedding, and it was computed."""
    ABORTED = "aborted"
    FAILED = "failed"


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Natural log-probability of a sampled token, and of the best alternatives, best first."""

    logprob: float
    top: list[tuple[int, float]]


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The sequence got a slot, of whose cache it reuses `num_cached_tokens`."""

    request_id: int
    slot: int
    num_cached_tokens: int


class Prefilled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`num_computed_tokens` of the prompt are in the cache now (sent with `report_progress`)."""

    request_id: int
    num_computed_tokens: int


class Generated(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """New tokens of the answer, with as many log-probabilities, or none if not asked for."""

    request_id: int
    tokens: list[int]
    logprobs: list[TokenLogprobs]
    num_draft_tokens: int = 0
    """Tokens that were guessed for this step, right or wrong."""
    num_accepted_tokens: int = 0
    """Those of them that were right: they are among `tokens`."""


class Embedded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The embedding of a prompt: 32-bit floats in the machine's order, one vector, or without
    pooling one for each token, one after the other."""

    request_id: int
    vectors: bytes


class Finished(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The terminal event; `message` says what went wrong when the reason is `FAILED`."""

    request_id: int
    reason: FinishReason
    message: str = ""


Event = Started | Prefilled | Generated | Embedded | Finished


class CacheTier(enum.StrEnum):
    """Where the cells of a reused prefix were when its sequence started."""

    SLOT = "slot"
    """In the slot that it got: nothing had to be moved."""
    COPY = "copy"
    """In another slot."""
    HOST = "host"
    """In host memory."""


class StepCosts(msgspec.Struct, frozen=True, array_like=True):
    """Seconds that a step takes, as measured."""

    by_rows: dict[int, float]
    """By the number of rows, all of one sequence."""
    by_slots: dict[int, float]
    """By the number of sequences, each with one row."""


class StepStats(msgspec.Struct, frozen=True, array_like=True):
    """What one step did: seconds by phase, rows by kind, and the state that it left."""

    schedule_seconds: float
    decode_seconds: float
    sample_seconds: float
    update_seconds: float
    send_seconds: float
    """Of the step before: a message can't carry the time of its own sending."""
    num_decode_tokens: int
    num_prefill_tokens: int
    num_running: int
    num_waiting: int
    num_cache_tokens: int
    """Cells that hold computed tokens, of running and of idle slots."""
    num_running_cache_tokens: int = 0
    """Those of running sequences alone, which no other sequence could have."""
    num_prefilling: int = 0
    """Running sequences whose prompt is not computed yet."""
    num_preempted: int = 0
    """Sequences that lost their slot in this step, and wait again."""
    num_looked_up_tokens: int = 0
    """Prompt tokens of the sequences that started, for which the cache was searched."""
    saved_tokens: dict[CacheTier, int] = {}
    """Those of them that it had."""
    mask_seconds: float = 0.0
    """Computing masks of constraints, beside `decode_seconds` rather than after it."""
    draft_seconds: float = 0.0
    """Guessing tokens ahead, before `decode_seconds`."""
    num_draft_tokens: int = 0
    """Rows among `num_decode_tokens` that verified a guess."""
    accepted_by_position: list[int] = []
    """How many drafts were right at their first token, at their first two, and so on."""
    num_drafts: int = 0
    costs: StepCosts | None = None
    """Sent once in a while."""


class StepOutputs(msgspec.Struct, frozen=True, tag=True):
    """Everything that one step produced, for all sequences."""

    begin: float
    end: float
    events: list[Event]
    stats: StepStats | None


class AdapterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA adapter that is loaded."""

    path: str
    digest: str
    """Of its content; the name by which sequences ask for it."""
    task_name: str = ""
    prompt_prefix: str = ""


class EmbeddingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a context computes embeddings."""

    pooling: str
    size: int
    """Floats of a vector."""
    max_tokens: int
    """Of a prompt."""
    is_whole: bool
    """Whether a prompt has to be computed at once, because all of its outputs are pooled; else
    the output of its last token is its embedding."""
    max_rows: int
    """Tokens of all prompts that are computed together, where they are computed at once."""
    is_alone: bool = False
    """Whether such a prompt has to be alone in its batch, because batches are cut."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the loaded model and its context that only the engine knows."""

    n_ctx: int
    n_ctx_slot: int
    """Tokens, prompt and answer, that one sequence can hold."""
    n_slots: int
    n_vocab: int
    n_params: int
    size_bytes: int
    description: str
    file_type: str
    system_info: str
    cell_bytes: int
    """Keys and values of one token."""
    state_bytes: int = 0
    """What a saved sequence takes besides, however short: a recurrent model's state."""
    can_trim: bool
    """Whether the cache can drop a sequence's tail; recurrent models may not."""
    can_shift: bool = False
    """Whether cells can be moved to other positions."""
    adapters: tuple[AdapterInfo, ...] = ()
    """In the order of `EngineConfig.adapter_paths`; one loaded twice is here twice."""
    embedding: EmbeddingInfo | None = None
    """None where embeddings were not asked for."""
    can_generate: bool = True
    """Whether the model has a next token to sample; encoders have not."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and the engine takes commands."""

    model: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model could not be loaded; the process ends after this message."""

    message: str


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it is between two steps; `request_id` is None while it is idle."""

    slot: int
    num_cache_tokens: int
    request_id: int | None = None
    num_prompt_tokens: int = 0
    num_prompt_tokens_computed: int = 0
    num_cached_tokens: int = 0
    num_generated_tokens: int = 0
    max_tokens: int = UNLIMITED
    sampling: SamplingParams | None = None
    lora: LoraSet = ()
    speculation: Speculation | None = None


class SlotReport(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Inspect`."""

    query_id: int
    slots: list[SlotState]
    num_waiting: int


class SlotChanged(msgspec.Struct, frozen=True, tag=True):
    """What a command about a slot asked for is done."""

    query_id: int
    num_tokens: int
    """That were written, read or forgotten."""
    num_bytes: int
    """Of the file; 0 without one."""
    seconds: float


class SlotRefusal(enum.StrEnum):
    """Why a command about a slot was not carried out."""

    NO_SUCH_SLOT = "no such slot"
    BUSY = "busy"
    """The slot, or the cells that it would take; later it may work."""
    BAD_FILE = "bad file"
    """Missing, damaged, or of another model, build or context."""
    FAILED = "failed"


class SlotRefused(msgspec.Struct, frozen=True, tag=True):
    """A command about a slot was not carried out; what the slot holds is as it was, unless the
    reason is `FAILED`."""

    query_id: int
    reason: SlotRefusal
    message: str


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """The engine loop turned over, busy or idle, at `time`."""

    time: float


Reply = SlotReport | SlotChanged | SlotRefused
"""An answer to the command with the same `query_id`."""

Message = Ready | LoadFailed | StepOutputs | Reply | Heartbeat


class Codec:
    """Both directions as frames: four bytes of length, little-endian, then msgpack."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
        self._messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def frame(self, item: Command | Message) -> bytearray:
        """One message as it goes over the socket."""
        buffer = bytearray(LENGTH.size)
        self._encoder.encode_into(item, buffer, LENGTH.size)
        LENGTH.pack_into(buffer, 0, len(buffer) - LENGTH.size)
        return buffer

    def decode_command(self, data: bytes) -> Command:
        """Read what the API process sent. Raises `msgspec.MsgspecError`."""
        return self._commands.decode(data)

    def decode_message(self, data: bytes) -> Message:
        """Read what the engine sent. Raises `msgspec.MsgspecError`."""
        return self._messages.decode(data)


class Frames:
    """Cuts what a socket delivers into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was received; returns the messages that are complete now."""
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while len(self._buffer) >= start + LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            end = start + LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(bytes(self._buffer[start + LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages
