"""`llamapack show`: what a model is, by its head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.commands.arguments import parser
from server.commands.description import Described, as_json, describing
from server.model.files import check_model
from server.model.gguf_contents import PARTS, GgufContents
from server.model.split_name import files_of
from server.startup import ChatTemplateError
from server.store.errors import StoreError
from server.store.folders import Folders, Owner, folders_of
from server.store.model import StoredModel, stored
from server.store.names import find
from server.store.quantization import stem_of
from server.store.sizes import human_size
from server.store.stored_models import stored_models
from server.templates.chat_template import JinjaTemplate, SpecialTokens
from server.templates.rendering import renderers

_WIDTH = 14


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError` and `ModelFileError`."""
    flags = parser("show", "What a model is: its shape, its template's abilities, its sizes.")
    flags.add_argument("model", metavar="NAME|FILE", help="a name of `llamapack list --all`")
    flags.add_argument("--template", action="store_true", help="print the chat template alone")
    flags.add_argument("--metadata", action="store_true", help="also the values of the head")
    asked = flags.parse_args(argv)
    model = _model(asked.model, folders_of(environ))
    with describing() as describer:
        described = describer.of(model)
    if described.contents is None:
        raise StoreError(f"{model.path} {described.problem}")
    if asked.template:
        return _print_template(model, described.contents)
    abilities = template_abilities(described.contents)
    if asked.json:
        print(json.dumps(_json(described, described.contents, abilities), indent=2))
        return 0
    print("\n".join(_lines(described, described.contents, abilities)))
    if asked.metadata:
        print("\n".join(_values(described.contents)))
    return 0


def template_abilities(contents: GgufContents) -> list[str]:
    """What the chat template can do: `chat`, `tools`, `thinking`; empty without a usable one."""
    if contents.template is None:
        return []
    try:
        found = {"chat"}
        for source in filter(None, (contents.template, contents.tool_template)):
            found |= _abilities(JinjaTemplate(source, SpecialTokens()))
    except ChatTemplateError:
        return []
    finally:
        renderers.close()
    return [name for name in ("chat", "tools", "thinking") if name in found]


def _abilities(template: JinjaTemplate) -> set[str]:
    able = template.capabilities
    found = {"tools"} if able.tools else set()
    thinks = able.thinking_variables or able.reasoning_field or template.thinking_markers
    return found | ({"thinking"} if thinks else set())


def _model(name: str, folders: Folders) -> StoredModel:
    """The stored model of this name, or the model in this file."""
    path = Path(name).expanduser()
    if not path.is_file():
        return find(name, stored_models(folders))
    check_model(path)
    files = files_of(path)
    for model in stored_models(folders):
        with suppress(OSError):
            if model.path.samefile(path):
                return model
    return stored(stem_of(path.name), files, Owner.NOBODY)


def _print_template(model: StoredModel, contents: GgufContents) -> int:
    if contents.template is None:
        raise StoreError(f"{model.name} has no chat template")
    print(contents.template)
    return 0


def _json(described: Described, contents: GgufContents, abilities: Sequence[str]) -> dict[str, Any]:
    return {
        **as_json(described),
        "parameters": contents.parameters,
        "context_length": contents.number("context_length"),
        "abilities": list(abilities),
        "parts": {part: contents.parts[part] for part in PARTS if part in contents.parts},
        "types": dict(contents.types),
        "metadata": dict(contents.metadata),
    }


def _lines(described: Described, contents: GgufContents, abilities: Sequence[str]) -> Iterator[str]:
    model = described.model
    yield model.name
    for name, value in (
        ("file", str(model.path)),
        ("owner", model.owner),
        ("size", _size(model)),
        ("projector", "" if model.projector is None else str(model.projector)),
        ("architecture", contents.architecture or "unknown"),
        ("parameters", _count(contents.parameters)),
        ("quantization", _quantization(described, contents)),
        ("context", _number(contents, "context_length", " tokens")),
        ("shape", _shape(contents)),
        ("template", ", ".join(abilities) or _no_template(contents)),
        ("title", contents.text("general.name")),
        ("licence", contents.text("general.license")),
    ):
        if value:
            yield f"  {name:<{_WIDTH}}{value}"
    yield "  sizes by part"
    total = sum(contents.parts.values()) or 1
    for part in PARTS:
        if size := contents.parts.get(part):
            yield f"    {part:<{_WIDTH - 2}}{human_size(size):>8}  {size / total:4.0%}"


def _values(contents: GgufContents) -> Iterator[str]:
    yield "  metadata"
    for name, value in sorted(contents.metadata.items()):
        yield f"    {name} = {value!r}"


def _no_template(contents: GgufContents) -> str:
    if contents.template is None:
        return "none; chats are written as ChatML"
    return "one that can't be used; `llamapack serve` says why"


def _size(model: StoredModel) -> str:
    count = len(model.files)
    return human_size(model.size) + (f" in {count} files" if count > 1 else "")


def _count(parameters: int) -> str:
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f} B"
    return f"{parameters / 1e6:.1f} M"


def _quantization(described: Described, contents: GgufContents) -> str:
    """The file's type, and the types of the tensors that make most of its bytes."""
    total = sum(contents.types.values()) or 1
    shares = sorted(contents.types.items(), key=lambda item: -item[1])
    shown = [f"{name} {size / total:.0%}" for name, size in shares if size >= total / 100]
    return f"{described.quantization or 'unknown'} ({', '.join(shown)})"


def _number(contents: GgufContents, name: str, unit: str) -> str:
    value = contents.number(name)
    return "" if value is None else f"{value:,}{unit}"


def _shape(contents: GgufContents) -> str:
    parts = (
        ("block_count", " layers"),
        ("embedding_length", " wide"),
        ("attention.head_count", " heads"),
        ("attention.head_count_kv", " for keys and values"),
        ("expert_count", " experts"),
        ("expert_used_count", " of them used"),
    )
    return ", ".join(filter(None, (_number(contents, name, unit) for name, unit in parts)))
