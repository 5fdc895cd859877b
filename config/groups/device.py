"""The threads and the GPUs on which the model is computed."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import OnOff, OnOffAuto, SettingsGroup, Switch, Whole
from config.option import Group, Option

MAX_RPC_SERVERS = 16
"""RPC servers that llama.cpp can use at once."""


class DeviceSettings(SettingsGroup):
    """The threads and the devices on which the model is computed."""

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
        BeforeValidator(coerce.to_gpu_layers),
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
        BeforeValidator(coerce.to_proportions),
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
    fit: Annotated[
        OnOff,
        Option(
            ("-fit", "--fit"),
            Group.DEVICE,
            "choose --ctx-size, --parallel, the types of the cache and --n-gpu-layers, as far as "
            "they are not given, so that the model fits the memory that is free; the log says "
            "what was chosen",
            metavar="on|off",
        ),
    ] = "off"
    fit_target: Annotated[
        tuple[Annotated[Whole, Field(ge=0)], ...],
        BeforeValidator(coerce.to_numbers),
        Field(min_length=1),
        Option(
            ("-fitt", "--fit-target"),
            Group.DEVICE,
            "with --fit, MiB that stay free on each GPU, or without GPUs in the host's memory; one "
            "value is for all",
            metavar="MIB,...",
            default_text="1024",
        ),
    ] = (1024,)
    fit_ctx: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("-fitc", "--fit-ctx"),
            Group.DEVICE,
            "with --fit, the least tokens of a slot that may be chosen",
            metavar="N",
        ),
    ] = 4096
    rpc: Annotated[
        tuple[str, ...],
        BeforeValidator(coerce.to_endpoints),
        Field(max_length=MAX_RPC_SERVERS),
        Option(
            ("--rpc",),
            Group.DEVICE,
            "RPC servers whose devices compute a part of the model, comma-separated; a trusted "
            "network only",
            metavar="HOST:PORT,...",
        ),
    ] = ()
