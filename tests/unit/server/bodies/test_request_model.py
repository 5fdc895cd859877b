"""Null in a body means what leaving the field out means, in every object of every body."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, RootModel

import server
from server.anthropic import blocks
from server.anthropic import request as anthropic_request
from server.anthropic import routes as anthropic_routes
from server.bodies.request_model import RequestModel
from server.chat import messages
from server.chat.messages import FileData
from server.chat.request import ChatRequest
from server.chat.tools import Function, NamedChoice, NamedFunction, Tool
from server.embeddings import routes as embedding_routes
from server.embeddings.request import EmbeddingRequest
from server.embeddings.rerank import RerankRequest
from server.errors import InvalidRequest
from server.llama_server import routes as llama_routes
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.grammar_check import GrammarCheck
from server.llama_server.infill import FileExcerpt, InfillRequest
from server.llama_server.slot_actions import SlotFile
from server.llama_server.tokens import DetokenizeRequest, TokenizeRequest
from server.lm_studio.downloads import DownloadRequest
from server.lm_studio.loading import LoadRequest
from server.model.adapters import LoraScale
from server.ollama import downloads, listing, making, recipes
from server.ollama import request as ollama_request
from server.ollama.options import Options
from server.openai import routes as openai_routes
from server.openai.chat.control import ControlRequest
from server.openai.responses import items
from server.openai.responses import request as response_request
from server.openai.responses import routes as response_routes
from server.openai.responses.items import FilePart
from server.requests.body import parse_body
from server.requests.field_names import known_names
from server.requests.prompts import PromptObject
from server.requests.sampling_fields import StreamOptions
from server.requests.text_completion import TextCompletionRequest
from server.structured_output import response_format, triggers, vllm_field

for module in pkgutil.walk_packages(server.__path__, "server."):
    importlib.import_module(module.name)  # so that every body is known, whichever tests ran before

CALL = {"function": {"name": "a"}}
MODEL = {"model": "a"}
USER = {"role": "user", "content": "a"}

LEAST: dict[type[RequestModel], dict[str, Any]] = {
    ChatRequest: {"messages": [USER]},
    CompletionRequest: {"prompt": "a"},
    ControlRequest: {"id": "a", "action": "reasoning_end"},
    FileData: {"file_data": "a"},
    FilePart: {"type": "input_file", "file_data": "a"},
    TextCompletionRequest: {"prompt": "a"},
    InfillRequest: {"input_prefix": "a", "input_suffix": "b"},
    FileExcerpt: {"text": "a"},
    EmbeddingRequest: {"content": "a"},
    RerankRequest: {"query": "a"},
    TokenizeRequest: {},
    DetokenizeRequest: {},
    SlotFile: {"filename": "a"},
    GrammarCheck: {"regex": "a"},
    StreamOptions: {},
    LoraScale: {"id": 0, "scale": 1},
    PromptObject: {"prompt_string": "a"},
    messages.TextPart: {"type": "text", "text": "a"},
    messages.RefusalPart: {"type": "refusal", "refusal": "a"},
    messages.FunctionCall: {"name": "a"},
    messages.ToolCall: {"function": {"name": "a"}},
    messages.InstructionMessage: {"role": "system", "content": "a"},
    messages.UserMessage: USER,
    messages.AssistantMessage: {"role": "assistant"},
    messages.ToolMessage: {"role": "tool", "content": "a"},
    Function: {"name": "a"},
    Tool: {"type": "function", "function": {"name": "a"}},
    NamedFunction: {"name": "a"},
    NamedChoice: {"type": "function", "function": {"name": "a"}},
    response_format.TextFormat: {"type": "text"},
    response_format.JsonObjectFormat: {"type": "json_object"},
    response_format.SchemaWrapper: {},
    response_format.JsonSchemaFormat: {"type": "json_schema", "schema": {}},
    blocks.DocumentBlock: {"type": "document", "source": {"type": "text", "data": "a"}},
    blocks.TextBlock: {"type": "text", "text": "a"},
    anthropic_request.ServerTool: {"type": "a"},
    blocks.PdfSource: {"type": "base64", "data": "a"},
    blocks.SearchResultBlock: {"type": "search_result", "source": "a", "content": "b"},
    blocks.ThinkingBlock: {"type": "thinking", "thinking": "a"},
    blocks.ToolUseBlock: {"type": "tool_use", "id": "a", "name": "b"},
    blocks.ToolResultBlock: {"type": "tool_result", "tool_use_id": "a"},
    anthropic_request.OwnTool: {"name": "a", "input_schema": {}},
    anthropic_request.ToolChoice: {"type": "auto"},
    anthropic_request.Thinking: {"type": "adaptive"},
    anthropic_request.OutputConfig: {},
    anthropic_request.Metadata: {},
    anthropic_request.MessagesRequest: {"model": "a", "messages": [USER], "max_tokens": 1},
    items.MessageItem: USER,
    items.CallItem: {"type": "function_call", "call_id": "a", "name": "b"},
    items.CallOutputItem: {"type": "function_call_output", "call_id": "a"},
    items.ReasoningItem: {"type": "reasoning"},
    response_request.FunctionTool: {"type": "function", "name": "a"},
    response_request.Namespace: {"type": "namespace", "name": "a"},
    response_request.AllowedTools: {"type": "allowed_tools", "tools": []},
    response_request.SchemaFormat: {"type": "json_schema", "schema": {}},
    response_request.TextConfig: {},
    response_request.ReasoningConfig: {},
    response_request.ResponseRequest: {},
    triggers.GrammarTrigger: {"type": 1, "value": "a"},
    vllm_field.StructuredOutputs: {"regex": "a"},
    DownloadRequest: MODEL,
    LoadRequest: MODEL,
    listing.ShowRequest: MODEL,
    making.CreateRequest: {**MODEL, "from": "b"},
    downloads.PullRequest: MODEL,
    recipes.Recipe: {"name": "a", "base": "b", "modified": 0.0},
    Options: {},
    ollama_request.Call: CALL,
    ollama_request.Message: {"role": "assistant"},
    ollama_request.Tool: CALL,
    ollama_request.OllamaChatRequest: MODEL,
    ollama_request.OllamaEmbedRequest: MODEL,
    ollama_request.OllamaEmbeddingsRequest: MODEL,
    ollama_request.OllamaGenerateRequest: MODEL,
}
"""The least that each kind of object may hold."""


@pytest.mark.parametrize("model", LEAST, ids=lambda model: model.__name__)
def test_null_is_the_default(model: type[RequestModel]) -> None:
    least = LEAST[model]
    plain = model.model_validate(least)
    absent = [name for name in known_names(model) if name not in least]
    for name in absent:
        assert model.model_validate({name: None, **least}) == plain, name
    assert model.model_validate({**dict.fromkeys(absent), **least}) == plain


@pytest.mark.parametrize("model", LEAST, ids=lambda model: model.__name__)
def test_null_is_described(model: type[RequestModel]) -> None:
    schema = model.model_json_schema()
    for name in schema["properties"].keys() - set(schema.get("required", ())):
        field = schema["properties"][name]
        kinds = [option.get("type") for option in field.get("anyOf", [])]
        assert "null" in kinds or not field.keys() - {"default", "description", "title"}, name


def models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models of the server below `base`."""
    for model in base.__subclasses__():
        yield from models(model)
        if model.__module__.startswith("server.") and not issubclass(model, RootModel):
            yield model


def test_no_object_of_a_body_has_another_base() -> None:
    tables = (llama_routes, openai_routes, response_routes, anthropic_routes, embedding_routes)
    endpoints = [endpoint for table in tables for endpoint in table.ENDPOINTS]
    bodies = {body for endpoint in endpoints for body in endpoint.bodies.values()}
    assert all(issubclass(body, RequestModel | RootModel) for body in bodies)
    others = {model for model in models(BaseModel) if not issubclass(model, RequestModel)}
    assert {model.__module__ for model in others - {RequestModel}} <= {"server.access.keys_file"}


def test_the_table_is_whole() -> None:
    optional = {
        model
        for model in models(RequestModel)
        if any(not field.is_required() for field in model.model_fields.values())
    }
    assert {model for model in optional if not model.__subclasses__()} <= LEAST.keys()


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (ChatRequest, b'{"messages": null}', "messages"),
        (ChatRequest, b'{"messages": [{"role": "user", "content": null}]}', "messages.0.content"),
        (
            ChatRequest,
            b'{"messages": [{"role": "user", "content": [{"type": "text", "text": null}]}]}',
            "messages.0.content.0.text",
        ),
        (
            ChatRequest,
            b'{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}',
            "tools.0.function",
        ),
        (EmbeddingRequest, b'{"input": null}', "input"),
        (RerankRequest, b'{"query": null}', "query"),
    ],
)
def test_null_for_a_required_field_is_missing(
    model: type[RequestModel], body: bytes, param: str
) -> None:
    with pytest.raises(InvalidRequest, match="is required") as caught:
        parse_body(body, model)
    assert caught.value.param == param


def test_nulls_in_maps_of_the_client() -> None:
    body = {
        "messages": [USER],
        "metadata": {"a": None},
        "logit_bias": {"5": None, "6": 1},
        "chat_template_kwargs": {"a": None},
    }
    request = ChatRequest.model_validate(body)
    assert request.logit_bias == ((6, 1.0),)
    assert request.chat_template_kwargs == {"a": None}
