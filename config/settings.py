"""Every setting of `llamapack serve`.

A field of a group gives the TOML key, the type, the default and the bounds; the Option beside it
gives the flags, the variable and the help. To add a setting is to add a field; a name listed in
`config.refused` then leaves that list.
"""

from config.groups.chat import ChatSettings
from config.groups.context import ContextSettings
from config.groups.device import DeviceSettings
from config.groups.embeddings import EmbeddingSettings
from config.groups.logging import LoggingSettings
from config.groups.model import ModelSettings
from config.groups.sampling import SamplingSettings
from config.groups.server import HttpSettings
from config.groups.speculation import SpeculationSettings


class ServeSettings(
    ModelSettings,
    ContextSettings,
    DeviceSettings,
    SpeculationSettings,
    SamplingSettings,
    EmbeddingSettings,
    HttpSettings,
    ChatSettings,
    LoggingSettings,
):
    """The settings of one server, validated and frozen.

    Durations are in the unit that the field or its help names (seconds where none is named),
    sizes are in tokens. None means that the model or the engine decides.
    """
