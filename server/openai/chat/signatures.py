"""The tools that an answer may call, with the part of their schemas that can be enforced."""

from __future__ import annotations

import json

from grammars import compiler
from grammars.errors import GrammarError, WrongSchema
from grammars.json_schema.checker import check_schema
from grammars.relaxed import relaxed
from server.model.tokenizer import Tokenizer
from server.openai.chat.prompt import ChatPrompt
from server.openai.chat.request import ChatRequest
from server.openai.chat.tools import Function
from server.parsers.syntax import CallSyntax
from server.structured_output.output_format import ANY_OBJECT
from server.structured_output.refusing import refusing
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature


def tool_signatures(
    body: ChatRequest, prompt: ChatPrompt, tokenizer: Tokenizer
) -> list[ToolSignature]:
    """The callable tools. Raises `InvalidRequest` for a schema that is wrong.

    With `strict`, a schema that can't be enforced is refused too. Otherwise such a part of the
    schema is left to the model.
    """
    syntax = prompt.template.tool_format.syntax
    signatures = []
    for index, tool in body.callable_tools():
        with refusing(f"tools.{index}.function.parameters"):
            signatures.append(_signature(tool.function, syntax, tokenizer))
    return signatures


def _signature(function: Function, syntax: CallSyntax, tokenizer: Tokenizer) -> ToolSignature:
    schema = function.arguments_schema
    if schema["type"] != "object":
        raise WrongSchema("arguments are an object", "/type")
    if function.strict:
        compiler.from_json_schema(schema)
        signature = ToolSignature(function.name, check_schema(schema))
        _try_alone(signature, syntax, tokenizer)
        return signature
    kept, places = relaxed(schema)
    signature = ToolSignature(function.name, check_schema(kept), tuple(places))
    try:
        _try_alone(signature, syntax, tokenizer)
    except GrammarError:
        return ToolSignature(function.name, json.dumps(ANY_OBJECT), ("",))
    return signature


def _try_alone(signature: ToolSignature, syntax: CallSyntax, tokenizer: Tokenizer) -> None:
    """Compile the rules of one tool. Raises `GrammarError`.

    A schema that is enforced as a whole was compiled before.
    """
    if syntax.parameters is not None:
        rules = CallRules(syntax=syntax, tools=[signature], is_required=True)
        compiler.from_lark(AnswerGrammar(tokenizer).write(calls=rules))
