"""What is done to the model's tensors and metadata while they are loaded."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import OnOffAuto, SettingsGroup, Switch, Whole, Words
from config.option import Group, Option

TensorBuffers = Annotated[tuple[tuple[str, str], ...], BeforeValidator(coerce.to_tensor_buffers)]
Layers = Annotated[Whole, Field(ge=0, le=4096)]


class WeightSettings(SettingsGroup):
    """What is done to the model's tensors and metadata while they are loaded."""

    override_kv: Annotated[
        tuple[tuple[str, bool | int | float | str], ...],
        BeforeValidator(coerce.to_metadata),
        Option(
            ("--override-kv",),
            Group.MODEL,
            "values instead of those in the GGUF's metadata, comma-separated; TYPE is int, float, "
            "bool or str",
            env="LLAMAPACK_OVERRIDE_KV",
            metavar="KEY=TYPE:VALUE",
            repeatable=True,
        ),
    ] = ()
    check_tensors: Annotated[
        Switch,
        Option(
            ("--check-tensors",),
            Group.MODEL,
            "refuse a model with values that are no numbers; loading takes longer",
            env="LLAMAPACK_CHECK_TENSORS",
        ),
    ] = False
    lazy_mode: Annotated[
        OnOffAuto,
        Option(
            ("-lzm", "--lazy-mode"),
            Group.MODEL,
            "read rows of certain large tensors, such as embeddings for each layer, from the file "
            "when they are needed; auto does it above 4 GiB",
            metavar="on|off|auto",
        ),
    ] = "auto"
    device: Annotated[
        Words,
        Option(
            ("-dev", "--device"),
            Group.DEVICE,
            "devices that compute the model, comma-separated, as --list-devices names them; none "
            "is the CPU alone",
            metavar="NAMES",
            default_text="all",
        ),
    ] = ()
    override_tensor: Annotated[
        TensorBuffers,
        Option(
            ("-ot", "--override-tensor"),
            Group.DEVICE,
            "memory for tensors whose name has a match of a regular expression, comma-separated, "
            r"such as blk\.0\.=CPU",
            metavar="REGEX=MEMORY",
            repeatable=True,
        ),
    ] = ()
    cpu_moe: Annotated[
        Switch,
        Option(
            ("-cmoe", "--cpu-moe"),
            Group.DEVICE,
            "keep the experts of a mixture of experts in the CPU's memory",
        ),
    ] = False
    n_cpu_moe: Annotated[
        Layers,
        Option(
            ("-ncmoe", "--n-cpu-moe"),
            Group.DEVICE,
            "keep the experts of the first N layers in the CPU's memory",
            metavar="N",
        ),
    ] = 0
    n_cpu_ffn: Annotated[
        Layers,
        Option(
            ("-ncffn", "--n-cpu-ffn"),
            Group.DEVICE,
            "keep the dense feed-forward weights of the first N layers in the CPU's memory",
            metavar="N",
        ),
    ] = 0
    no_host: Annotated[
        Switch,
        Option(
            ("--no-host",),
            Group.DEVICE,
            "don't keep weights in the GPU driver's host memory, so that --repack applies to them",
        ),
    ] = False
    op_offload: Annotated[
        Switch,
        Option(
            ("--op-offload",),
            Group.DEVICE,
            "let the GPU compute large batches with weights that are in the CPU's memory",
            env="LLAMAPACK_OP_OFFLOAD",
        ),
    ] = True
    spec_draft_device: Annotated[
        Words,
        Option(
            ("-devd", "--device-draft", "--spec-draft-device"),
            Group.SPECULATION,
            "devices that compute the draft model; none is the CPU alone",
            env="LLAMAPACK_SPEC_DRAFT_DEVICE",
            metavar="NAMES",
            default_text="all",
        ),
    ] = ()
    spec_draft_override_tensor: Annotated[
        TensorBuffers,
        Option(
            ("-otd", "--override-tensor-draft", "--spec-draft-override-tensor"),
            Group.SPECULATION,
            "the same as --override-tensor, for the draft model",
            env="LLAMAPACK_SPEC_DRAFT_OVERRIDE_TENSOR",
            metavar="REGEX=MEMORY",
            repeatable=True,
        ),
    ] = ()
    spec_draft_cpu_moe: Annotated[
        Switch,
        Option(
            ("-cmoed", "--cpu-moe-draft", "--spec-draft-cpu-moe"),
            Group.SPECULATION,
            "the same as --cpu-moe, for the draft model",
        ),
    ] = False
    spec_draft_n_cpu_moe: Annotated[
        Layers,
        Option(
            ("-ncmoed", "--n-cpu-moe-draft", "--spec-draft-ncmoe", "--spec-draft-n-cpu-moe"),
            Group.SPECULATION,
            "the same as --n-cpu-moe, for the draft model",
            metavar="N",
        ),
    ] = 0
