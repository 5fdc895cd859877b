"""The one error that reading the configuration can raise."""


class ConfigError(Exception):
    """A setting can't be used; the message is one line and names where it was given."""
