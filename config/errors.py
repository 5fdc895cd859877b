"""The one error that reading the configuration can raise."""


class ConfigError(Exception):
    """A setting can't be used. The message is one line that names the flag, variable or key."""
