"""What stops the server from starting.

StartupError
├── ModelFileError       the model can't be found or used
├── FitError             no settings make the model fit the memory (`server.fit`)
├── VocabularyError      llama.cpp can't read the model's vocabulary
└── ChatTemplateError    the chat template can't be used with any conversation

The command line prints the message of each and ends with exit code 1.
"""

from __future__ import annotations


class StartupError(Exception):
    """The server can't start; the message is one line for the operator."""


class ModelFileError(StartupError):
    """The model can't be used; the message says which file and why."""


class VocabularyError(StartupError):
    """The file holds no vocabulary that llama.cpp can read."""


class ChatTemplateError(StartupError):
    """The template is unreadable or no Jinja template."""
