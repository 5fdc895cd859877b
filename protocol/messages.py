"""Messages from the engine to the API process."""

from __future__ import annotations

import enum

import msgspec

from protocol.blocks import BlockEvent, Medium
from protocol.cache_lookup import CacheLookup, CacheResult, CacheTier
from protocol.events import Event


class StepCosts(msgspec.Struct, frozen=True, array_like=True):
    """Measured times of steps, in seconds."""

    by_rows: dict[int, float]
    """By the number of rows, when all rows are of one sequence."""
    by_slots: dict[int, float]
    """By the number of sequences, when each sequence has one row."""


class StepStats(msgspec.Struct, frozen=True, array_like=True):
    """Statistics of one step: seconds by phase, rows by kind, and the state after the step."""

    schedule_seconds: float
    decode_seconds: float
    sample_seconds: float
    update_seconds: float
    send_seconds: float
    """Of the step before this one: a message can't hold the time of its own sending. What a thread
    sends beside the next step does not count."""
    num_decode_tokens: int
    num_prefill_tokens: int
    num_running: int
    num_waiting: int
    num_cache_tokens: int
    """Cells that hold computed tokens, in running and in idle slots."""
    num_running_cache_tokens: int = 0
    """Cells of running sequences alone. No other sequence can take them."""
    num_prefilling: int = 0
    """Running sequences whose prompt is not fully computed."""
    num_preempted: int = 0
    """Sequences that lost their slot in this step and wait again."""
    num_looked_up_tokens: int = 0
    """Prompt tokens of the sequences that started in this step. The cache was searched for them."""
    saved_tokens: dict[CacheTier, int] = {}
    """Prompt tokens that the cache held, by the place where they were."""
    lookups: dict[CacheResult, int] = {}
    """Sequences that started, by what the search of the cache came to."""
    mask_seconds: float = 0.0
    """Time for the masks of constraints. It runs at the same time as `decode_seconds`."""
    draft_seconds: float = 0.0
    """Time for drafting, before `decode_seconds`."""
    num_draft_tokens: int = 0
    """Rows of `num_decode_tokens` that verified a draft token."""
    accepted_by_position: list[int] = []
    """`accepted_by_position[k]`: number of drafts whose first k + 1 tokens were all accepted."""
    num_drafts: int = 0
    costs: StepCosts | None = None
    """Sent from time to time, else None."""
    num_reused_graphs: int = 0
    """Micro-batches for which llama.cpp had its graph ready, because the one before had the same
    shape."""


class StepOutputs(msgspec.Struct, frozen=True, tag=True):
    """The events of one step for all sequences, its begin and end, and its statistics."""

    begin: float
    end: float
    events: list[Event]
    stats: StepStats | None
    queued: list[int] = []
    """Requests that were added since the last message with this field."""


class AddingRequest(msgspec.Struct, frozen=True, tag=True):
    """The engine begins to add a request. If the engine dies before the request is queued, the
    request may be the cause."""

    request_id: int
    queued: list[int]
    """Requests that were added since the last message with this field."""


class AdapterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA adapter that is loaded."""

    path: str
    digest: str
    """Digest of the adapter's content. Sequences name the adapter by it."""
    task_name: str = ""
    prompt_prefix: str = ""


class EmbeddingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a context computes embeddings."""

    pooling: str
    size: int
    """Number of floats in a vector."""
    max_tokens: int
    """Most tokens of a prompt."""
    is_whole: bool
    """Whether a prompt has to be computed in one step, because all of its outputs are pooled. If
    not, the output of the last token is the embedding."""
    max_rows: int
    """Most tokens of all prompts in one step, if `is_whole`."""
    is_alone: bool = False
    """Whether such a prompt has to be alone in its batch, because batches are cut into parts."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the loaded model and its context, which only the engine knows."""

    n_ctx: int
    n_ctx_slot: int
    """Most tokens of one sequence, prompt and answer together."""
    n_slots: int
    is_unified: bool = False
    """Whether the slots share `n_ctx` tokens, so that one sequence may have all of them."""
    n_vocab: int
    n_params: int
    size_bytes: int
    description: str
    file_type: str
    system_info: str
    cell_bytes: int
    """Bytes of the keys and values of one token, in layers that keep every token."""
    state_bytes: int = 0
    """Bytes that a saved sequence of any length takes besides: the state of a recurrent model."""
    window: int = 0
    """Number of latest tokens that layers with a sliding window keep; 0 without such layers."""
    window_cell_bytes: int = 0
    """Bytes of the keys and values of one token in those layers."""
    can_trim: bool
    """Whether the cache can drop the end of a sequence. Recurrent models and sliding windows
    can not."""
    can_shift: bool = False
    """Whether cells can be moved to other positions."""
    adapters: tuple[AdapterInfo, ...] = ()
    """In the order of `EngineConfig.adapter_paths`. An adapter loaded twice is here twice."""
    embedding: EmbeddingInfo | None = None
    """None if `EngineConfig.embeddings` is off."""
    can_generate: bool = True
    """Whether the model can generate tokens. Encoders can not."""
    flash_attn: str = "auto"
    """Whether the context uses flash attention: "on", "off", or "auto" if llama.cpp decides."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded, and the engine takes commands."""

    model: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model could not be loaded. The process ends after this message."""

    message: str


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one slot between two steps. `request_id` is None while the slot is idle."""

    slot: int
    num_cache_tokens: int
    request_id: int | None = None
    num_prompt_tokens: int = 0
    num_prompt_tokens_computed: int = 0
    num_cached_tokens: int = 0
    num_generated_tokens: int = 0
    is_late: bool = False
    """Whether the next token waits for the sequence's constraint."""
    lookup: CacheLookup | None = None
    """What the search of the cache came to; None while idle."""


class CacheNode(msgspec.Struct, frozen=True, array_like=True):
    """A node of the prefix index: tokens that all of its holders have in common."""

    id: int
    """The same in every report, for as long as the node exists."""
    parent: int | None
    """None for the root of a cache scope, which has no tokens."""
    start: int
    """Position of the node's first token."""
    num_tokens: int
    first: tuple[int, ...]
    """The node's first tokens."""
    slots: tuple[int, ...]
    """The slots whose cells hold the node's tokens."""
    num_saved: int
    """Prefixes in host memory that hold them."""
    num_from_disk: int
    """Those of them that were read from disk."""
    num_checkpoints: int
    """Checkpoints at the node's end or below."""
    num_bytes: int
    """Bytes of the saved prefixes and checkpoints that end in this node."""
    num_hidden: int = 0
    """Children that the report leaves out."""
    salt: str = ""
    """The salt of the cache scope. Only roots have one."""
    has_adapters: bool = False
    """Whether the scope's sequences use adapters; only roots tell."""


class CacheReport(msgspec.Struct, frozen=True):
    """The prefix index and host memory between two steps."""

    nodes: list[CacheNode]
    """Parents come before their children. The nodes with most holders are there."""
    num_hidden_scopes: int
    num_saved: int
    """Prefixes in host memory."""
    num_checkpoints: int
    num_bytes: int
    """Of both."""
    capacity: int
    """Bytes that host memory may hold."""


class SlotReport(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Inspect`."""

    query_id: int
    slots: list[SlotState]
    num_waiting: int
    cache: CacheReport | None = None
    """Only if the question asked for nodes."""


class SlotChanged(msgspec.Struct, frozen=True, tag=True):
    """A command about a slot was carried out."""

    query_id: int
    num_tokens: int
    """Number of tokens that were written, read or forgotten."""
    num_bytes: int
    """Size of the file; 0 if there is no file."""
    seconds: float


class SlotRefusal(enum.StrEnum):
    """Why a command about a slot was not carried out."""

    NO_SUCH_SLOT = "no such slot"
    BUSY = "busy"
    """The slot is busy, or the cells that it needs are. The same command may succeed later."""
    BAD_FILE = "bad file"
    """The file is missing or damaged, or comes from another model, build or context."""
    FAILED = "failed"


class SlotRefused(msgspec.Struct, frozen=True, tag=True):
    """A command about a slot was not carried out. The content of the slot is unchanged, unless the
    reason is `FAILED`, or llama.cpp found that the cells of a file don't fit."""

    query_id: int
    reason: SlotRefusal
    message: str


class BlocksChanged(msgspec.Struct, frozen=True, tag=True):
    """Blocks came into the cache or left it since the last such message. Sent only if
    `EngineConfig.event_block_size` is set."""

    events: list[BlockEvent]


class BlockReport(msgspec.Struct, frozen=True, tag=True):
    """The answer to `InspectBlocks`."""

    query_id: int
    held: dict[Medium, list[int]]
    """Names of the blocks that each medium holds; no name is twice in a list."""


class ThinkingEnded(msgspec.Struct, frozen=True, tag=True):
    """The answer to `EndThinking`."""

    query_id: int
    num_tokens: int | None
    """Tokens of the answer up to there; None if it was not thinking, or can't be made to end."""


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """A sign of life: the engine's loop made a turn at `time`, busy or idle."""

    time: float


Reply = SlotReport | BlockReport | SlotChanged | SlotRefused | ThinkingEnded
"""An answer to the command with the same `query_id`."""


Message = Ready | LoadFailed | AddingRequest | StepOutputs | BlocksChanged | Reply | Heartbeat
