"""The declaration of one setting: its flags, its variable and its help."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """The headings of the help text, in the order in which they are printed."""

    MODEL = "Model"
    CONTEXT = "Context and batching"
    DEVICE = "CPU and GPU"
    SPECULATION = "Speculative decoding"
    SAMPLING = "Sampling defaults"
    EMBEDDING = "Embeddings"
    SERVER = "Server"
    CHAT = "Chat"
    MODELS = "Several models"
    LOGGING = "Logging"


@dataclass(frozen=True)
class Spelling:
    """Another way to give a setting, with a value of another form.

    A spelling without a value (`--mlock`) gives the setting the value `on`; its variable is a
    switch, whose negative gives the value `off`. A spelling with a value (`--rope-scale 2`) has a
    `convert`, which turns its value into the setting's own. `convert` raises ValueError, with a
    message that starts with "must", for a value that it can't read.
    """

    flags: tuple[str, ...]
    help: str
    env: str | None = None
    convert: Callable[[str], str] | None = None
    on: str = ""
    off: str | None = None
    metavar: str = "N"

    @property
    def key(self) -> str:
        """The TOML key: the longest flag in snake case."""
        return key_of(max(self.flags, key=len))


@dataclass(frozen=True)
class Option:
    """The declaration in the annotation of a field of `ServeSettings`.

    `flags` holds every positive flag. Each long flag of a switch also has a negative, `--no-x`;
    `negative` holds further flags that turn the switch off. `env` is the variable's name, by
    default LLAMA_ARG_ and the field's name. `default_text` is shown instead of the default. The
    values of a `repeatable` flag that is given several times add up to a list. A flag with
    `num_values` is followed by that many values, which become one text with commas.
    """

    flags: tuple[str, ...]
    group: Group
    help: str
    env: str = ""
    metavar: str = ""
    negative: tuple[str, ...] = ()
    default_text: str = ""
    repeatable: bool = False
    num_values: int = 1
    spellings: tuple[Spelling, ...] = ()


def key_of(flag: str) -> str:
    """`--ctx-size` as a TOML key and field name: `ctx_size`."""
    return flag.lstrip("-").replace("-", "_")
