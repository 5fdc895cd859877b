"""Every setting of `llamapack serve`.

Each setting is a field of a group. The field gives the TOML key, the type, the default and the
bounds; the Option in its annotation gives the flags, the variable and the help. To add a setting,
add a field to a group, and delete its flags from `config.refused` if they are there.
"""

from config.groups.chat import ChatSettings
from config.groups.context import ContextSettings
from config.groups.device import DeviceSettings
from config.groups.embeddings import EmbeddingSettings
from config.groups.kv_events import KvEventSettings
from config.groups.logging import LoggingSettings
from config.groups.model import ModelSettings
from config.groups.models import ModelsSettings
from config.groups.sampling import SamplingSettings
from config.groups.server import HttpSettings
from config.groups.speculation import SpeculationSettings
from config.groups.threads import ThreadSettings
from config.groups.weights import WeightSettings


class ServeSettings(
    ModelSettings,
    ContextSettings,
    DeviceSettings,
    ThreadSettings,
    WeightSettings,
    SpeculationSettings,
    SamplingSettings,
    EmbeddingSettings,
    HttpSettings,
    KvEventSettings,
    ChatSettings,
    ModelsSettings,
    LoggingSettings,
):
    """The settings of one server, validated and frozen.

    A duration is in seconds if neither the field's name nor its help names another unit. A size is
    in tokens. None means that the model or the engine decides.
    """
