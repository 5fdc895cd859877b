"""The model that is served, and how its file gets into memory."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import FilePath, SettingsGroup, Switch, Words
from config.option import Group, Option, Spelling
from config.presets import shortcut_names, shortcut_title


class ModelSettings(SettingsGroup):
    """The model that is served, and how its file gets into memory."""

    config: Annotated[
        FilePath | None,
        Option(
            ("--config",),
            Group.MODEL,
            "TOML file with any of these settings; its keys are the long flags in snake_case",
            env="LLAMAPACK_CONFIG",
            metavar="FILE",
        ),
    ] = None
    preset: Annotated[
        str | None,
        Option(
            ("--preset",),
            Group.MODEL,
            "start from a shipped preset: {presets}",
            env="LLAMAPACK_PRESET",
            metavar="NAME",
            spellings=tuple(
                Spelling((f"--{name}",), shortcut_title(name), on=name) for name in shortcut_names()
            ),
        ),
    ] = None
    model: Annotated[
        FilePath | None,
        Option(
            ("-m", "--model"),
            Group.MODEL,
            "GGUF file to serve; of a split model, its first file; with --hf-repo, --model-url or "
            "--docker-repo, a file that is missing is downloaded to this place",
            metavar="FILE",
            default_text="the embedded demo model",
        ),
    ] = None
    alias: Annotated[
        Words,
        Option(
            ("-a", "--alias"),
            Group.MODEL,
            "names under which clients ask for the model, comma-separated",
            metavar="NAMES",
            default_text="from the file's name",
            repeatable=True,
        ),
    ] = ()
    tags: Annotated[
        Words,
        Option(
            ("--tags",),
            Group.MODEL,
            "words about the model, comma-separated, which GET /v1/models lists",
            metavar="TAGS",
            default_text="none",
            repeatable=True,
        ),
    ] = ()
    hf_repo: Annotated[
        str | None,
        Option(
            ("-hf", "-hfr", "--hf-repo"),
            Group.MODEL,
            "Hugging Face repository to download the model from; without QUANT it takes Q4_K_M, "
            "else Q8_0, else the first file",
            metavar="USER/REPO[:QUANT]",
        ),
    ] = None
    hf_file: Annotated[
        str | None,
        Option(
            ("-hff", "--hf-file"),
            Group.MODEL,
            "file of the repository of --hf-repo, instead of a choice by quantization",
            metavar="FILE",
        ),
    ] = None
    model_url: Annotated[
        str | None,
        Option(
            ("-mu", "--model-url"),
            Group.MODEL,
            "address of a GGUF file to download once; of a split model, its first file",
            metavar="URL",
        ),
    ] = None
    docker_repo: Annotated[
        str | None,
        Option(
            ("-dr", "--docker-repo"),
            Group.MODEL,
            "model of Docker's registry to download; USER is ai and TAG is latest by default",
            metavar="[USER/]NAME[:TAG]",
        ),
    ] = None
    hf_token: Annotated[
        str | None,
        Field(repr=False),
        Option(
            ("-hft", "--hf-token"),
            Group.MODEL,
            "access token for Hugging Face",
            env="HF_TOKEN",
            metavar="TOKEN",
        ),
    ] = None
    offline: Annotated[
        Switch,
        Option(("--offline",), Group.MODEL, "use downloaded files only, never the network"),
    ] = False
    load_mode: Annotated[
        Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio", "huge"],
        Option(
            ("-lm", "--load-mode"),
            Group.MODEL,
            "how the weights get into memory: mapped, locked, read with direct I/O, or read into "
            "huge pages, which is some percent faster on CPUs",
            metavar="MODE",
            spellings=(
                Spelling(
                    ("--mmap",), "same as --load-mode mmap", "LLAMA_ARG_MMAP", on="mmap", off="none"
                ),
                Spelling(("--no-mmap",), "same as --load-mode none", on="none"),
                Spelling(
                    ("--mlock",),
                    "same as --load-mode mmap+mlock",
                    "LLAMA_ARG_MLOCK",
                    on="mmap+mlock",
                ),
                Spelling(
                    ("-dio", "--direct-io"),
                    "same as --load-mode dio",
                    "LLAMA_ARG_DIO",
                    on="dio",
                ),
            ),
        ),
    ] = "auto"
    lora: Annotated[
        tuple[FilePath, ...],
        BeforeValidator(coerce.to_list),
        Option(
            ("--lora",),
            Group.MODEL,
            "LoRA adapters to load and apply, comma-separated; requests choose others with `lora`",
            env="LLAMAPACK_LORA",
            metavar="FILES",
            repeatable=True,
        ),
    ] = ()
    lora_scaled: Annotated[
        tuple[tuple[FilePath, Annotated[float, Field(ge=-1e6, le=1e6)]], ...],
        BeforeValidator(coerce.to_scaled_files),
        Option(
            ("--lora-scaled",),
            Group.MODEL,
            "LoRA adapters with a scale each, comma-separated; their numbers follow those of "
            "--lora",
            env="LLAMAPACK_LORA_SCALED",
            metavar="FILE:SCALE",
            repeatable=True,
        ),
    ] = ()
    lora_init_without_apply: Annotated[
        Switch,
        Option(
            ("--lora-init-without-apply",),
            Group.MODEL,
            "load adapters with scale 0; requests and POST /lora-adapters can raise it",
            env="LLAMAPACK_LORA_INIT_WITHOUT_APPLY",
        ),
    ] = False
    control_vector: Annotated[
        tuple[FilePath, ...],
        BeforeValidator(coerce.to_list),
        Option(
            ("--control-vector",),
            Group.MODEL,
            "control vectors that steer every answer, comma-separated",
            env="LLAMAPACK_CONTROL_VECTOR",
            metavar="FILES",
            repeatable=True,
        ),
    ] = ()
    control_vector_scaled: Annotated[
        tuple[tuple[FilePath, Annotated[float, Field(ge=-1e6, le=1e6)]], ...],
        BeforeValidator(coerce.to_scaled_files),
        Option(
            ("--control-vector-scaled",),
            Group.MODEL,
            "control vectors with a scale each, comma-separated",
            env="LLAMAPACK_CONTROL_VECTOR_SCALED",
            metavar="FILE:SCALE",
            repeatable=True,
        ),
    ] = ()
    control_vector_layer_range: Annotated[
        tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]],
        BeforeValidator(coerce.to_pair),
        Option(
            ("--control-vector-layer-range",),
            Group.MODEL,
            "the first and the last layer that control vectors steer; 0 is no bound",
            env="LLAMAPACK_CONTROL_VECTOR_LAYER_RANGE",
            metavar="START END",
            num_values=2,
        ),
    ] = (0, 0)
    repack: Annotated[
        Switch,
        Option(
            ("--repack",),
            Group.MODEL,
            "rearrange weights for this CPU's matrix instructions",
            negative=("-nr",),
        ),
    ] = True
    warmup: Annotated[
        Switch,
        Option(("--warmup",), Group.MODEL, "run one empty step before taking requests"),
    ] = True
