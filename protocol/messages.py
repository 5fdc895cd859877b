"""What the engine sends to the API process."""

from __future__ import annotations

import enum

import msgspec

from protocol.commands import UNLIMITED, LoraSet, Speculation
from protocol.events import Event
from protocol.sampling import SamplingParams


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
