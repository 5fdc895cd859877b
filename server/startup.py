"""What stops a command, and the start of a server.

CommandError             no server, client or file that the command needs
├── AnswerError          a server refuses or breaks off an answer (`server.client`)
└── StartupError         the server can't start
    ├── ModelFileError       the model can't be found or used
    │   └── StoreError       it can't be pulled, imported or removed (`server.store`)
    ├── FitError             no settings make the model fit the memory (`server.fit`)
    ├── VocabularyError      llama.cpp can't read the model's vocabulary
    └── ChatTemplateError    the chat template can't be used with any conversation

The command line prints the message of each and ends with exit code 1.
"""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""Exit codes of commands."""


class CommandError(Exception):
    """A command can't do what it is asked for; the message is one line for the user."""


class StartupError(CommandError):
    """The server can't start; the message is one line for the operator."""


class ModelFileError(StartupError):
    """The model can't be used; the message says which file and why."""


class VocabularyError(StartupError):
    """The file holds no vocabulary that llama.cpp can read."""


class ChatTemplateError(StartupError):
    """The template is unreadable or no Jinja template."""
