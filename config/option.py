"""How one setting can be given: its flags, its variable and what the help says about it."""

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
    LOGGING = "Logging"


@dataclass(frozen=True)
class Spelling:
    """Another way to give a setting, whose words are not those of the setting itself.

    Without a value (`--mlock`) it stands for the text `on` gives; its variable is then
    a switch. With a value (`--rope-scale 2`), `convert` turns that into the setting's own
    text and raises ValueError, whose message starts with "must", when it can't.
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
    """The declaration that hangs on a field of the settings.

    `flags` holds every positive flag; `negative` adds short forms of the negative, of which
    the long ones (`--no-x`) follow from the field being a switch. `env` is the variable's
    name, by default LLAMA_ARG_ and the field's name.
    """

    flags: tuple[str, ...]
    group: Group
    help: str
    env: str = ""
    metavar: str = ""
    negative: tuple[str, ...] = ()
    default_text: str = ""
    repeatable: bool = False
    spellings: tuple[Spelling, ...] = ()


def key_of(flag: str) -> str:
    """`--ctx-size` as a TOML key and field name: `ctx_size`."""
    return flag.lstrip("-").replace("-", "_")
