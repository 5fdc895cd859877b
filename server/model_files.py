"""Finding the model file to serve."""


class ModelFileError(Exception):
    """The model can't be used; the message is one line that says which file and why."""
