"""Chat templates and thinking."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import FilePath, OnOffAuto, SettingsGroup, Switch, Whole
from config.option import Group, Option


class ChatSettings(SettingsGroup):
    """Chat templates and thinking."""

    chat_template: Annotated[
        str | None,
        Option(
            ("--chat-template",),
            Group.CHAT,
            "name of one of llama.cpp's built-in chat templates, such as chatml or llama3, or the "
            "text of a Jinja chat template",
            metavar="TEMPLATE",
            default_text="from the model",
        ),
    ] = None
    chat_template_file: Annotated[
        FilePath | None,
        Option(
            ("--chat-template-file",),
            Group.CHAT,
            "file with a Jinja chat template",
            metavar="FILE",
        ),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, object],
        BeforeValidator(coerce.to_json_object),
        Option(
            ("--chat-template-kwargs",),
            Group.CHAT,
            "variables for the chat template, as a JSON object",
            metavar="JSON",
        ),
    ] = {}  # noqa: RUF012 (pydantic copies defaults)

    reasoning_format: Annotated[
        Literal["auto", "none", "deepseek"],
        Option(
            ("--reasoning-format",),
            Group.CHAT,
            "where a model's thinking goes, for a request without reasoning_format: none leaves "
            "it in content, the others put it in reasoning_content",
            env="LLAMA_ARG_THINK",
            metavar="FORMAT",
        ),
    ] = "auto"
    reasoning: Annotated[
        OnOffAuto,
        Option(
            ("-rea", "--reasoning"),
            Group.CHAT,
            "whether the model thinks, for a request that doesn't say; auto leaves it to the chat "
            "template",
            metavar="WHEN",
        ),
    ] = "auto"
    reasoning_preserve: Annotated[
        Switch,
        Option(
            ("--reasoning-preserve",),
            Group.CHAT,
            "keep the thinking of all earlier answers in the prompt, with chat templates that can; "
            "off leaves it to the template (llama-server's default is on)",
        ),
    ] = False
    reasoning_effort: Annotated[
        str,
        Option(
            ("--reasoning-effort",),
            Group.CHAT,
            "how hard to think, such as low, for a request without reasoning_effort: passed to the "
            "chat template, or a limit if the template doesn't use it; see "
            "docs/structured-output.md",
            metavar="LEVEL",
        ),
    ] = "default"
    reasoning_budget: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--reasoning-budget",),
            Group.CHAT,
            "most tokens of thinking, for a request that names no limit; then the thinking is "
            "ended; -1 is no limit",
            env="LLAMA_ARG_THINK_BUDGET",
            metavar="N",
        ),
    ] = -1
    reasoning_budget_message: Annotated[
        str,
        Option(
            ("--reasoning-budget-message",),
            Group.CHAT,
            "text put at the end of thinking that has reached its limit",
            env="LLAMA_ARG_THINK_BUDGET_MESSAGE",
            metavar="TEXT",
            default_text="none",
        ),
    ] = ""
