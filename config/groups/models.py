"""Several models behind one address: where they are, and how many stay loaded."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import FilePath, Number, SettingsGroup, Switch, Whole
from config.option import Group, Option, Spelling


class ModelsSettings(SettingsGroup):
    """Several models behind one address: where they are, and how many stay loaded."""

    models_dir: Annotated[
        FilePath | None,
        Option(
            ("--models-dir",),
            Group.MODELS,
            "folder of models to serve by name: GGUF files, and folders with one model each",
            metavar="DIR",
            default_text="none",
        ),
    ] = None
    models_preset: Annotated[
        FilePath | None,
        Option(
            ("--models-preset",),
            Group.MODELS,
            "INI file with a section for each model to serve; keys are flags without dashes, or "
            "variables; [*] is for all models",
            metavar="FILE",
            default_text="none",
        ),
    ] = None
    models_cache: Annotated[
        Switch,
        Option(
            ("--models-cache",),
            Group.MODELS,
            "serve the downloaded and imported models of `llamapack list` by name",
            env="LLAMAPACK_MODELS_CACHE",
        ),
    ] = False
    models_max: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--models-max",),
            Group.MODELS,
            "most models that are loaded at a time; 0 leaves it to the memory",
            metavar="N",
        ),
    ] = 4
    models_memory: Annotated[
        tuple[Annotated[Whole, Field(ge=0)], Annotated[Whole, Field(ge=0)]],
        BeforeValidator(coerce.to_memory_limits),
        Option(
            ("--models-memory",),
            Group.MODELS,
            "MiB of host memory, and after a comma of device memory, that loaded models may take "
            "together; 0 is nine tenths of what there is",
            env="LLAMAPACK_MODELS_MEMORY",
            metavar="HOST[,DEVICE]",
            default_text="0",
        ),
    ] = (0, 0)
    models_autoload: Annotated[
        Switch,
        Option(
            ("--models-autoload",),
            Group.MODELS,
            "load a model when a request asks for it; a query of autoload=true or false decides "
            "for one request",
        ),
    ] = True
    models_wait: Annotated[
        Number,
        Field(gt=0),
        Option(
            ("--models-wait",),
            Group.MODELS,
            "longest that a request waits for its model to be loaded; after half of this, models "
            "in use take no new requests to make room",
            env="LLAMAPACK_MODELS_WAIT",
            metavar="S",
        ),
    ] = 600.0
    sleep_idle_seconds: Annotated[
        Number,
        BeforeValidator(coerce.to_stay),
        Option(
            ("--sleep-idle-seconds",),
            Group.MODELS,
            "unload a model, of several or the only one, after so long without a request; the next "
            "request loads it again; -1 is never",
            env="LLAMAPACK_SLEEP_IDLE_SECONDS",
            metavar="S",
            spellings=(
                Spelling(
                    ("--keep-alive",),
                    "same as --sleep-idle-seconds, also with a unit, such as 5m",
                    convert=lambda text: str(coerce.to_stay(text)),
                    metavar="S",
                ),
            ),
        ),
    ] = -1.0
