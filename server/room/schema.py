"""The shape of `GET /v1/events`. docs/events.md explains every field."""

from __future__ import annotations

import msgspec


class CacheView(msgspec.Struct, frozen=True):
    """What a request got from the cache, and why no more."""

    result: str
    """A `CacheResult`."""
    source: str | None
    """A `CacheTier`; null if no token was reused."""
    checkpoint: bool
    reused: int
    shared: int


class SlotView(msgspec.Struct, frozen=True):
    """One slot between two steps."""

    id: int
    state: str
    """"idle", "prompt", "answer", or "late": the next token waits for its constraint."""
    request: int | None
    key: str | None
    prompt_tokens: int
    computed_tokens: int
    """Prompt tokens that have cells, cached ones included."""
    cached_tokens: int
    answer_tokens: int
    cells: int
    tokens_per_second: float
    cache: CacheView | None


class WaitingView(msgspec.Struct, frozen=True):
    """A request that has no slot."""

    request: int
    key: str | None
    prompt_tokens: int
    priority: int
    queued: float


class QueueView(msgspec.Struct, frozen=True):
    """The requests that have no slot."""

    waiting: int
    waiting_tokens: int
    capacity: int
    preemptions: int
    first: list[WaitingView]


class CellsView(msgspec.Struct, frozen=True):
    """The cells of the KV cache."""

    total: int
    running: int
    idle: int
    """Cells of idle slots, which hold prefixes."""


class MemoryView(msgspec.Struct, frozen=True):
    """Host memory for prefixes and checkpoints, in bytes."""

    used: int
    capacity: int
    prefixes: int
    checkpoints: int


class NodeView(msgspec.Struct, frozen=True):
    """A node of the prefix index."""

    id: int
    parent: int | None
    start: int
    tokens: int
    text: str | None
    """How its text begins; null where texts are not shown."""
    slots: tuple[int, ...]
    saved: int
    from_disk: int
    checkpoints: int
    bytes: int
    hidden: int
    owner: str | None
    """Of a root: the key whose prefixes these are, as far as that is known."""
    adapters: bool


class PrefixesView(msgspec.Struct, frozen=True):
    """The prefix index."""

    nodes: list[NodeView]
    hidden_scopes: int


class SpeculationView(msgspec.Struct, frozen=True):
    """Counts of drafts since the server's start."""

    methods: tuple[str, ...]
    drafts: int
    draft_tokens: int
    accepted_tokens: int
    accepted_by_position: list[int]


class StepsView(msgspec.Struct, frozen=True):
    """Counts of steps since the server's start."""

    steps: int
    seconds: dict[str, float]
    """By phase."""
    mask_seconds: float
    prompt_tokens: int
    answer_tokens: int


class KeyView(msgspec.Struct, frozen=True):
    """What a key's requests have cost since the server's start."""

    key: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int


class RequestView(msgspec.Struct, frozen=True):
    """A request that waits, runs or is over. Times are Unix times."""

    id: int
    key: str | None
    kind: str
    """"answer" or "embedding"."""
    state: str
    """"waiting", "prompt", "answer", or how it ended."""
    prompt_tokens: int
    answer_tokens: int
    draft_tokens: int
    accepted_tokens: int
    slot: int | None
    queued: float
    started: float | None
    first_token: float | None
    ended: float | None
    cache: CacheView | None


class EngineFacts(msgspec.Struct, frozen=True):
    """What doesn't change while an engine runs, and how it is."""

    state: str
    """"ready", "loading", "restarting" or "down"."""
    message: str
    deaths: int
    description: str
    parameters: int
    model_bytes: int
    slots: int
    context: int
    """Cells of all slots together."""
    slot_context: int
    cell_bytes: int


class EngineView(msgspec.Struct, frozen=True):
    """One engine."""

    facts: EngineFacts
    slots: list[SlotView]
    queue: QueueView
    cells: CellsView
    memory: MemoryView
    prefixes: PrefixesView
    speculation: SpeculationView
    steps: StepsView
    keys: list[KeyView]
    requests: list[RequestView]


class ServerView(msgspec.Struct, frozen=True):
    """The server as a whole."""

    version: str
    started: float
    has_keys: bool
    shows_texts: bool
    has_one_model: bool
    """Whether the server was started for one model, which stays."""
    memory_bytes: int
    """Memory of the machine, or of the container."""


class ModelView(msgspec.Struct, frozen=True):
    """A model of the server, loaded or not. Times are Unix times."""

    name: str
    aliases: tuple[str, ...]
    state: str
    """A `ModelState`."""
    failure: str
    host_bytes: int | None
    device_bytes: int | None
    pinned: bool
    keep_alive: float | None
    """Seconds that the model stays without a request; null: for ever."""
    expires: float | None
    last_used: float | None
    loaded: float | None
    progress: float | None
    """The share of the load that is done."""
    users: int
    tags: tuple[str, ...]


class DownloadView(msgspec.Struct, frozen=True):
    """A download of a model."""

    model: str
    state: str
    """"running", "finished", "failed" or "cancelled"."""
    completed: int
    total: int
    """Bytes; 0 while it is not known."""
    message: str


class RoomView(msgspec.Struct, frozen=True):
    """Everything that a snapshot tells."""

    server: ServerView
    models: list[ModelView]
    downloads: list[DownloadView]
    engines: dict[str, EngineView]
