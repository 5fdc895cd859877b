"""How the engine loads its models and lays out its context."""

from __future__ import annotations

import msgspec


class DraftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to load a draft model; its context has as many slots and cells as the model's own."""

    model_path: str
    n_threads: int = 0
    """Threads for drafting; 0 takes the model's own."""
    n_threads_batch: int = 0
    n_gpu_layers: int = -1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


class NgramConfig(msgspec.Struct, frozen=True, kw_only=True):
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
    swa_full: bool = False
    context_shift: bool = False
    """Sequences may ask for their cells to be shifted; refused if the model's memory can't."""
    cache_reuse: bool = False
    """The same for the reuse of chunks."""
    load_mode: str = "auto"
    use_repack: bool = True
    """Rearrange weights at load for this CPU's matrix instructions."""
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
    lookup: NgramConfig = NgramConfig()
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
