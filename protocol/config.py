"""The configuration of the engine: how it loads its models and lays out its context."""

from __future__ import annotations

import msgspec

DEFAULT_POLL = 50

HUGE_PAGES = "huge"
"""A load mode: the weights are read into huge pages."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The CPUs on which the threads of one kind of batch run."""

    cpus: tuple[int, ...] = ()
    """Rising numbers of CPUs; empty leaves the choice to the system."""
    strict: bool = False
    """Whether each thread gets one of the CPUs."""


class DraftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load a draft model. Its context has as many slots and cells as the model's."""

    model_path: str
    n_threads: int = 0
    """Threads for drafting; 0 takes the model's number."""
    n_threads_batch: int = 0
    placement: Placement = Placement()
    placement_batch: Placement = Placement()
    devices: tuple[str, ...] = ()
    tensor_buffers: tuple[tuple[str, str], ...] = ()
    n_gpu_layers: int = -1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


class NgramConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long a repetition must be before the tokens after it become a draft."""

    simple_size: int = 4
    """`ngram-simple`: number of last tokens that must occur earlier in the sequence."""
    simple_min_hits: int = 1
    """`ngram-simple`: how often the last tokens must occur earlier."""
    shared_size: int = 12
    """`ngram-mod`: number of last tokens that must occur in some sequence of the same salt."""


class CheckpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How many checkpoints host memory keeps of memories that can't drop the end of a sequence."""

    per_slot: int = 32
    """Most checkpoints for each slot; all slots share them."""
    step: int = 8192
    """A long prompt gets a checkpoint each time so many tokens are computed; 0 gives it none."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load the model and lay out its context. Names and units are those of llama.cpp."""

    model_path: str
    adapter_paths: tuple[str, ...] = ()
    """Files of LoRA adapters to load."""
    control_vectors: tuple[tuple[str, float], ...] = ()
    """Files of control vectors, each with its scale."""
    control_vector_layers: tuple[int, int] = (0, 0)
    """The first and the last layer that vectors steer, counted from 1; 0 is no bound."""
    embeddings: bool = False
    """Whether sequences may ask for embeddings. The outputs of whole prompts take memory."""
    pooling: str = ""
    """How the outputs of a prompt become one vector; "" takes the model's pooling."""
    n_slots: int = 4
    n_ctx: int = 0
    """Cells of the whole KV cache, shared by the slots; 0 takes the model's training context."""
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int = 0
    """Threads for decoding; 0 means one per physical core."""
    n_threads_batch: int = 0
    placement: Placement = Placement()
    """Where threads run that decode; `placement_batch` is for prefill."""
    placement_batch: Placement = Placement()
    priority: int = 0
    """The engine process's priority, from -1 (low) to 3 (highest)."""
    poll: int = DEFAULT_POLL
    """How long threads spin before they sleep, from 0 (not at all) to 100."""
    sampling_threads: int = 0
    """Threads that sample rows at the same time; 0 takes cores that the model does not use."""
    backend_sampling: bool = False
    """Whether each slot has a sampler on the model's device from the start."""
    numa: str = ""
    """How threads use several memory nodes; "" does nothing for them."""
    metadata: tuple[tuple[str, bool | int | float | str], ...] = ()
    """Values instead of those in the GGUF's metadata, by their keys."""
    check_tensors: bool = False
    """Whether a model with values that are no numbers is refused."""
    lazy_mode: str = "auto"
    """Whether rows of certain large tensors are read when they are needed."""
    remote: tuple[str, ...] = ()
    """Addresses of RPC servers, as HOST:PORT; their devices are named RPC0, RPC1, ..."""
    devices: tuple[str, ...] = ()
    """Names of the devices that compute the model; none means all, and ("none",) the CPU alone."""
    tensor_buffers: tuple[tuple[str, str], ...] = ()
    """Regular expressions of tensors' names, each with the name of the memory for them."""
    host_buffers: bool = True
    """Whether weights may be in the GPU driver's host memory."""
    op_offload: bool = True
    """Whether the GPU may compute with weights that are in the CPU's memory."""
    n_gpu_layers: int = -1
    main_gpu: int = 0
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    flash_attn: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    kv_unified: bool | None = False
    """Whether slots share one stream of cells; None leaves it to the model's context."""
    idle_slots_stay: bool = False
    """Whether idle slots keep their cells where every step would read them, too."""
    kv_offload: bool = True
    swa_full: bool = False
    context_shift: bool = False
    """Whether sequences may shift their cells. Loading fails if the model's memory can't shift."""
    cache_reuse: bool = False
    """Whether sequences may reuse chunks. Loading fails if the model's memory can't shift."""
    load_mode: str = "auto"
    """`HUGE_PAGES`, or a name of llama.cpp's."""
    use_repack: bool = True
    """Whether weights are rearranged at load for this CPU's matrix instructions."""
    rope_scaling: str = ""
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_orig_ctx: int = 0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_beta_fast: float = -1.0
    warmup: bool = True
    perf: bool = False
    """Whether llama.cpp measures its own times, and logs them at the end."""
    cache_ram_bytes: int = 0
    """Host memory for prefixes that left their slot."""
    checkpoints: CheckpointConfig = CheckpointConfig()
    cache_disk: str = ""
    """A folder for the most used prefixes, written at the end and read at the start; "" is none."""
    cache_disk_bytes: int = 0
    event_block_size: int = 0
    """Tokens of a block in the events about what the cache holds; 0 sends no events."""
    block_names: str = ""
    """What the names of blocks depend on besides their content, such as the model's name."""
    itl_target_ms: float = 100.0
    """Wished time between two tokens of a stream while other sequences prefill, in milliseconds."""
    draft: DraftConfig | None = None
    """The draft model (`draft-simple`), if there is one."""
    ngram: NgramConfig = NgramConfig()
    max_draft_tokens: int = 0
    """Most tokens of a draft of any request; 0 turns speculative decoding off."""
    measure_costs: bool = True
    """Whether steps of different numbers of rows are timed before the first request. A file with
    the times of an earlier start replaces the measurement."""
    cost_folder: str = ""
    """Folder of the files with measured times; "" keeps none."""
    log_level: str = "INFO"
    log_json: bool = False
    log_timestamps: bool = True
    log_prefix: bool = True
    log_colors: bool = False
    log_file: str = ""
    """File to append log lines to; "" is standard error."""
