"""Settings of llamapack: one declaration per setting, read from flags, variables and TOML."""

from config.errors import ConfigError
from config.load import load_settings
from config.models import ModelSources
from config.settings import ServeSettings

__all__ = ["ConfigError", "ModelSources", "ServeSettings", "load_settings"]
