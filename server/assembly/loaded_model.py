"""What the API process reads of a model file: all but the weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from config import ServeSettings, file_settings
from grammars.constraint import Constraint
from server.model.files import has_ranking_head
from server.model.guarded_tokenizer import GuardedTokenizer
from server.model.inspection import inspector
from server.model.tokenizer import Tokenizer
from server.parsers.reasoning import effort_variables
from server.structured_output.default import default_constraint
from server.templates.builtin import builtin_template
from server.templates.chat_template import ChatTemplate, load

logger = logging.getLogger("llamapack")

KEEP_THINKING = {
    "preserve_thinking": True,
    "clear_thinking": False,
    "truncate_history_thinking": False,
    "drop_thinking": False,
}
"""Under these names templates ask whether earlier answers keep their thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the API process reads of a model file: all but the weights."""

    name: str
    path: Path
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    default_constraint: Constraint | None = None


def load_model(settings: ServeSettings, path: Path) -> LoadedModel:
    """Read vocabulary and template, and compile the default constraint.

    Raises `VocabularyError`, `ChatTemplateError`, `StartupError` and `ConfigError`.
    """
    tokenizer = load_vocabulary(settings, path)
    tokenizer.start()
    return model_with(settings, path, tokenizer)


def load_vocabulary(settings: ServeSettings, path: Path) -> GuardedTokenizer:
    """The vocabulary, once a confined process has read it. Raises `VocabularyError`."""
    inspector.check_vocabulary(path, settings.override_kv)
    return GuardedTokenizer(path, settings.override_kv)


def model_with(settings: ServeSettings, path: Path, tokenizer: Tokenizer) -> LoadedModel:
    """The model of a vocabulary, as these settings want it.

    Raises `ChatTemplateError`, `StartupError` and `ConfigError`.
    """
    if settings.reranking and not has_ranking_head(path):
        logger.warning(
            "--reranking: %s has no ranking head, so its scores mean nothing; take a reranker", path
        )
    template = load(
        tokenizer,
        override=_template_override(settings),
        variables=_template_variables(settings),
    )
    return LoadedModel(
        name=settings.alias[0] if settings.alias else path.stem,
        path=path,
        tokenizer=tokenizer,
        chat_template=template,
        default_constraint=default_constraint(settings, tokenizer),
    )


def _template_override(settings: ServeSettings) -> str | None:
    """The template instead of the model's, if there is one. Raises `ConfigError`."""
    text = file_settings.chat_template(settings)
    if text is None or settings.chat_template_file is not None:
        return text
    named = builtin_template(text)
    if named is None and "{" not in text:
        logger.warning(
            "--chat-template: %r is no built-in template, so it is the text itself", text
        )
    return text if named is None else named


def _template_variables(settings: ServeSettings) -> dict[str, object]:
    """The template variables of all chats. A variable that is given by its name wins."""
    effort = None if settings.reasoning_effort == "default" else settings.reasoning_effort
    switch = {} if settings.reasoning == "auto" else {"enable_thinking": settings.reasoning == "on"}
    kept = KEEP_THINKING if settings.reasoning_preserve else {}
    return {**effort_variables(effort), **switch, **kept, **settings.chat_template_kwargs}
