"""Tools and constraints of chat completions, through OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config import ServeSettings
from grammars.constraint import LazyConstraint, ThinkingConstraint
from scheduler.constraint import create_matcher
from tests.http.openai.conftest import CHANNELS, Live, Serve
from tests.support import fake_server
from tests.support.fake_server import ByteTokenizer
from tests.support.piece_vocabulary import vocabulary_of_pieces

VOCABULARY = vocabulary_of_pieces(
    [ByteTokenizer().piece(token, special=True) for token in range(ByteTokenizer.n_vocab)],
    special={fake_server.BOS},
    end_tokens={fake_server.EOS, fake_server.END_OF_TURN},
)
USER: Any = [{"role": "user", "content": "Hi"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str, parameters: object = CITY) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("get_weather"), tool("get_time")]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
PIECES = (
    "Let me see.\n",
    "<tool",
    '_call>\n{"name": "get_',
    'weather", "arg',
    'uments": {"ci',
    'ty": "Rome"}',
    "}\n</tool",
    "_call>",
)


def accepts(live: Live, text: str) -> bool:
    """Whether the constraint of the latest sequence allows `text` as a whole answer."""
    constraint = live.generator.opened[-1].spec.constraint
    assert constraint is not None
    answer = [*text.encode(), fake_server.EOS]
    return create_matcher(constraint, VOCABULARY).validate_draft(answer) == len(answer)


def ask(live: Live, **fields: Any) -> Any:
    return live.client.chat.completions.create(model="", messages=USER, **fields)


def test_call(serve: Serve) -> None:
    live = serve(PIECES)
    choice = ask(live, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    call = choice.message.tool_calls[0]
    assert call.id.startswith("call_")
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    assert live.prompt().startswith("<tool_call>get_weather<tool_call>get_time")


def test_content_is_null_when_only_tools_are_called(serve: Serve) -> None:
    message = ask(serve(PIECES[1:]), tools=TOOLS).choices[0].message
    assert message.content is None


def test_arguments_are_streamed(serve: Serve) -> None:
    chunks = list(ask(serve(PIECES), tools=TOOLS, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert calls[0].id.startswith("call_")
    assert calls[0].function.name == "get_weather"
    assert calls[0].function.arguments == ""
    assert all(call.id is None and call.index == 0 for call in calls[1:])
    arguments = [call.function.arguments for call in calls[1:]]
    assert len(arguments) > 1
    assert "".join(arguments) == '{"city": "Rome"}'
    assert "".join(delta.content or "" for delta in deltas) == "Let me see."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_calls(serve: Serve) -> None:
    live = serve([CALL + "\n", CALL.replace("Rome", "Oslo")])
    calls = ask(live, tools=TOOLS).choices[0].message.tool_calls
    cities = [json.loads(call.function.arguments)["city"] for call in calls]
    assert cities == ["Rome", "Oslo"]
    assert len({call.id for call in calls}) == 2
    assert accepts(live, CALL + "\n" + CALL)


def test_one_call_at_a_time(serve: Serve) -> None:
    live = serve([CALL + "\n", CALL])
    calls = ask(live, tools=TOOLS, parallel_tool_calls=False).choices[0].message.tool_calls
    assert len(calls) == 1
    assert accepts(live, CALL)
    assert not accepts(live, CALL + "\n" + CALL)


def test_auto_constrains_calls_alone(serve: Serve) -> None:
    live = serve()
    ask(live, tools=TOOLS)
    assert accepts(live, "Any text, even {braces} and <tool.")
    assert accepts(live, "Wait. " + CALL)
    assert not accepts(live, CALL.replace("city", "town"))
    assert not accepts(live, CALL.replace("get_weather", "get_lost"))


def test_required(serve: Serve) -> None:
    live = serve(PIECES)
    ask(live, tools=TOOLS, tool_choice="required")
    assert accepts(live, CALL)
    assert accepts(live, "<think>Rome?</think>\n\n" + CALL)
    assert accepts(live, CALL.replace("get_weather", "get_time"))
    assert not accepts(live, "No.")


def test_required_without_thinking(serve: Serve) -> None:
    live = serve(PIECES)
    ask(live, tools=TOOLS, tool_choice="required", reasoning_effort="none")
    assert accepts(live, CALL)
    assert not accepts(live, "<think>Rome?</think>\n\n" + CALL)


def test_named_function(serve: Serve) -> None:
    live = serve(PIECES)
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    answer = ask(live, tools=TOOLS, tool_choice=choice)
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert accepts(live, CALL)
    assert not accepts(live, CALL.replace("get_weather", "get_time"))


def test_none(serve: Serve) -> None:
    live = serve([CALL])
    message = ask(live, tools=TOOLS, tool_choice="none").choices[0].message
    assert message.tool_calls is None
    assert message.content == CALL
    assert "get_weather" not in live.prompt()
    assert live.generator.opened[0].spec.constraint is None


def test_history_of_calls(serve: Serve) -> None:
    live = serve()
    function = {"name": "get_weather", "arguments": '{"city":"Rome"}'}
    messages: Any = [
        *USER,
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
    ]
    live.client.chat.completions.create(model="", messages=messages, tools=TOOLS)
    assert '<|assistant|>get_weather{"city":"Rome"}<|tool|>sunny<|assistant|>' in live.prompt()


PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GENERIC_CALL = '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}'


def test_models_without_tools_in_their_template(serve: Serve) -> None:
    live = serve([GENERIC_CALL[:20], GENERIC_CALL[20:50], GENERIC_CALL[50:]], template=PLAIN)
    choice = ask(live, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Rome"}
    assert '"name": "get_weather"' in live.prompt()
    ask(live, tools=TOOLS, tool_choice="required")
    assert accepts(live, GENERIC_CALL)


@pytest.mark.parametrize(
    "format_",
    [
        {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": CITY}},
        {"type": "json_schema", "schema": CITY},
        {"type": "json_object", "schema": CITY},
    ],
)
def test_response_format(serve: Serve, format_: Any) -> None:
    live = serve()
    ask(live, response_format=format_)
    assert accepts(live, '{"city": "Rome"}')
    assert accepts(live, '<think>{</think>\n\n{"city": "Rome"}')
    assert not accepts(live, '{"city": 3}')


def test_any_json_object(serve: Serve) -> None:
    live = serve(template=PLAIN)
    ask(live, response_format={"type": "json_object"})
    assert accepts(live, '{"a": [1]}')
    assert not accepts(live, "[1]")
    ask(live, response_format={"type": "text"})
    assert live.generator.opened[-1].spec.constraint is None


def test_schema_or_call(serve: Serve) -> None:
    live = serve()
    format_: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    ask(live, response_format=format_, tools=TOOLS)
    assert accepts(live, '{"city": "Rome"}')
    assert accepts(live, CALL)
    assert not accepts(live, "Rome")


@pytest.mark.parametrize(
    ("outputs", "good", "bad"),
    [
        ({"json": CITY}, '{"city": "Rome"}', "{}"),
        ({"regex": "[0-9]+"}, "42", "x"),
        ({"choice": ["yes", "no"]}, "no", "maybe"),
    ],
)
def test_structured_outputs(serve: Serve, outputs: Any, good: str, bad: str) -> None:
    live = serve(template=PLAIN)
    ask(live, extra_body={"structured_outputs": outputs})
    assert accepts(live, good)
    assert not accepts(live, bad)


def test_schema_by_llama_servers_field(serve: Serve) -> None:
    live = serve(template=PLAIN)
    ask(live, extra_body={"json_schema": CITY})
    assert accepts(live, '{"city": "Rome"}')


def test_calls_that_are_told_late_leave_the_answer_free(serve: Serve) -> None:
    live = serve(template=PLAIN)
    ask(live, tools=TOOLS)
    assert live.generator.opened[-1].spec.constraint is None


def test_a_schema_has_no_effect_where_a_call_is_required(serve: Serve) -> None:
    live = serve(PIECES)
    format_: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    ask(live, response_format=format_, tools=TOOLS, tool_choice="required")
    assert accepts(live, CALL)
    assert not accepts(live, '{"city": "Rome"}')


FORMAT = "response_format.schema"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [tool("a b")]}, "tools.0.function.name"),
        ({"tools": [tool("a"), tool("a")]}, "tools.0.function.name"),
        ({"tools": [tool("a", {"type": "nonsense"})]}, "tools.0.function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "grammar": 'root ::= "x"'}, "grammar"),
        ({"tools": TOOLS, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"tools": TOOLS, "json_schema": CITY, "grammar_lazy": True}, "grammar_lazy"),
        ({"tools": TOOLS, "response_format": {"type": "json_object", "schema": 1}}, FORMAT),
        ({"json_schema": CITY, "grammar": 'root ::= "x"'}, "grammar"),
        (
            {"response_format": {"type": "json_object"}, "json_schema": CITY},
            "json_schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 1}}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": {}}}, "structured_outputs"),
    ],
)
def test_refusals_name_the_field(serve: Serve, fields: dict[str, Any], param: str) -> None:
    live = serve()
    response = live.post("/v1/chat/completions", messages=USER, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert live.generator.opened == []


NOTHING = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"parameters": None},
        {"parameters": {}},
        {"parameters": {"type": "object"}},
        {"parameters": {"type": ["object", "null"]}},
        {"parameters": NOTHING},
        {"parameters": {**NOTHING, "required": []}},
        {"parameters": {"properties": {}, "description": "none", "$schema": "x"}},
        {"parameters": {"type": "object", "properties": None, "required": None}},
        {"parameters": {"type": "object", "additionalProperties": False}},
        {"parameters": {"$ref": "#/$defs/x", "$defs": {"x": NOTHING}}},
    ],
)
def test_a_function_without_parameters_has_no_arguments(serve: Serve, parameters: Any) -> None:
    live = serve([CALL])
    tools = [{"type": "function", "function": {"name": "get_time", **parameters}}]
    ask(live, tools=tools, tool_choice="required")
    call = CALL.replace("get_weather", "get_time")
    assert accepts(live, call.replace('{"city": "Rome"}', "{}"))
    assert not accepts(live, call)


@pytest.mark.parametrize(
    ("inner", "allowed", "refused"),
    [
        (NOTHING, '{"o": {}}', '{"o": {"x": 1}}'),
        ({"type": "array", "items": NOTHING, "minItems": 1}, '{"o": [{}]}', '{"o": [{"x": 1}]}'),
        ({"anyOf": [NOTHING, {"type": "null"}]}, '{"o": {}}', '{"o": {"x": 1}}'),
        ({"type": "object"}, '{"o": {"x": 1}}', '{"o": 1}'),
        ({"type": "object", "additionalProperties": True}, '{"o": {"x": 1}}', '{"o": 1}'),
    ],
)
def test_an_object_inside_has_what_it_declares(
    serve: Serve, inner: Any, allowed: str, refused: str
) -> None:
    live = serve([CALL])
    outer = {"type": "object", "properties": {"o": inner}, "required": ["o"]}
    ask(live, tools=[tool("get_weather", outer)], tool_choice="required")
    assert accepts(live, CALL.replace('{"city": "Rome"}', allowed))
    assert not accepts(live, CALL.replace('{"city": "Rome"}', refused))


BEYOND = [
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems"),
    ({"type": "integer", "nullable": True}, "nullable"),
    ({"type": "integer", "not": {}}, "not"),
    ({"type": "integer", "not": {"const": 3}}, "not"),
    ({"type": "string", "format": "iri"}, "format"),
    ({"type": "string", "pattern": "^(?=a)b"}, "pattern"),
    ({"type": "string", "pattern": r"(a)\1"}, "pattern"),
    ({"type": "array", "contains": {"const": 1}}, "contains"),
    ({"type": "object", "if": {}, "then": {"required": ["a"]}}, "if"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"type": "string", "minlength": 3}, "minlength"),
    ({"$ref": "https://example.org/x"}, "$ref"),
]


@pytest.mark.parametrize(("schema", "keyword"), BEYOND)
def test_what_no_grammar_expresses_is_left_to_the_model(
    serve: Serve, schema: Any, keyword: str
) -> None:
    """The other tools, and the other parts of the schema, are enforced all the same."""
    live = serve(["Hi."])
    properties = {"city": {"type": "string"}, "x": schema}
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    response = live.post(
        "/v1/chat/completions", messages=USER, tools=[*TOOLS, tool("odd", parameters)]
    )
    assert response.status_code == 200, response.text
    assert response.headers["llamapack-left-to-model"] == f"odd#/properties/x/{keyword}"
    assert accepts(live, CALL)
    assert accepts(live, CALL.replace("get_weather", "odd"))
    assert not accepts(live, CALL.replace("city", "town"))
    assert not accepts(live, CALL.replace("get_weather", "odd").replace("city", "town"))


def test_a_stream_names_what_is_left_to_the_model_too(serve: Serve) -> None:
    live = serve(["Hi."])
    parameters = {"properties": {"é": {"uniqueItems": True}}, "additionalProperties": True}
    response = live.post(
        "/v1/chat/completions", messages=USER, tools=[tool("odd", parameters)], stream=True
    )
    assert response.headers["llamapack-left-to-model"] == r"odd#/properties/\xe9/uniqueItems"
    assert "[DONE]" in response.text


@pytest.mark.parametrize(("schema", "keyword"), BEYOND)
def test_strict_refuses_what_no_grammar_expresses(serve: Serve, schema: Any, keyword: str) -> None:
    live = serve()
    odd = tool("odd", {"type": "object", "properties": {"x": schema}})
    odd["function"]["strict"] = True
    response = live.post("/v1/chat/completions", messages=USER, tools=[*TOOLS, odd])
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == "tools.2.function.parameters"
    assert "/properties/x" in response.json()["error"]["message"]


@pytest.mark.parametrize("strict", [None, False, True])
@pytest.mark.parametrize(("schema", "keyword"), BEYOND)
def test_a_response_format_is_enforced_or_refused(
    serve: Serve, schema: Any, keyword: str, strict: bool | None
) -> None:
    """Nothing but its schema is asked for there, so no part of the schema is left out silently."""
    live = serve()
    outer = {"type": "object", "properties": {"x": schema}}
    wrapper = {"name": "x", "schema": outer, "strict": strict}
    format_ = {"type": "json_schema", "json_schema": wrapper}
    response = live.post("/v1/chat/completions", messages=USER, response_format=format_)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == FORMAT.replace(".schema", ".json_schema.schema")
    assert "/properties/x" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"x": {"type": "text"}}},
        {"type": "object", "properties": {"x": {"enum": []}}},
        {"type": "object", "properties": {"x": {"$ref": "#/$defs/no"}}},
        {"type": "string"},
    ],
)
def test_wrong_schemas_are_refused_without_strict_too(serve: Serve, parameters: Any) -> None:
    live = serve()
    response = live.post("/v1/chat/completions", messages=USER, tools=[tool("odd", parameters)])
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == "tools.0.function.parameters"


OPEN_THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}{# </think> #}"
)


def test_constraints_begin_after_thinking_that_the_prompt_opened(serve: Serve) -> None:
    live = serve(["Hm", "</think>", "no"], template=OPEN_THINKING)
    answer = ask(live, extra_body={"structured_outputs": {"choice": ["yes", "no"]}})
    assert answer.choices[0].message.content == "no"
    assert answer.choices[0].message.reasoning_content == "Hm"
    assert accepts(live, "Hm?</think>yes")
    assert accepts(live, "Hm?</think>\n\nyes")
    assert not accepts(live, "yes")
    assert not accepts(live, "Hm?</think>\n\nmaybe")
    ask(live, response_format={"type": "json_object"})
    assert accepts(live, "Hm {</think>\n\n{}")
    assert not accepts(live, "{}")


CHOICE = {"structured_outputs": {"choice": ["yes", "no"]}}


@pytest.mark.parametrize(
    ("template", "last", "right", "wrong"),
    [
        (OPEN_THINKING, {"reasoning_content": "Hm"}, " so</think>yes", "yes"),
        (OPEN_THINKING, {"content": "I say "}, "no", " so</think>yes"),
        (OPEN_THINKING, {"content": "<think>Hm"}, " so</think>yes", "yes"),
        (OPEN_THINKING, {"content": None}, "Hm</think>yes", "yes"),
        (
            CHANNELS,
            {"reasoning_content": "Hm"},
            " so<|end|><|start|>assistant<|channel|>final<|message|>yes",
            " so<|end|><|start|>assistant<|channel|>final<|message|>maybe",
        ),
        (CHANNELS, {"content": "I say "}, "yes", "maybe"),
    ],
)
def test_a_continued_answer_is_constrained_after_its_thinking(
    serve: Serve, template: str, last: dict[str, Any], right: str, wrong: str
) -> None:
    live = serve(template=template)
    messages = [*USER, {"role": "assistant", **last}]
    response = live.post("/v1/chat/completions", messages=messages, **CHOICE)
    assert response.status_code == 200, response.text
    assert accepts(live, right)
    assert not accepts(live, wrong)


@pytest.mark.parametrize(
    "name", ["reasoning_budget_tokens", "thinking_budget_tokens", "thinking_token_budget"]
)
def test_thinking_ends_with_its_budget(serve: Serve, name: str) -> None:
    live = serve(template=OPEN_THINKING)
    ask(live, extra_body={name: 3, "reasoning_budget_message": " Enough."})
    assert accepts(live, "Hm</think>\n\nHi")
    assert accepts(live, "So: Enough.</think>\n\nHi")
    assert not accepts(live, "So:?</think>\n\nHi")


def test_budget_and_constraint(serve: Serve) -> None:
    live = serve(template=OPEN_THINKING)
    outputs = {"structured_outputs": {"choice": ["yes", "no"]}, "thinking_budget_tokens": 0}
    ask(live, extra_body=outputs)
    assert accepts(live, "</think>\nyes")
    assert not accepts(live, "Hm</think>yes")
    assert not accepts(live, "</think>Hm")


def test_a_model_that_need_not_think(serve: Serve) -> None:
    live = serve()
    ask(live, extra_body={"thinking_budget_tokens": 2})
    assert accepts(live, "Hi there, friend")
    assert accepts(live, "<think>Hm</think>Hi")
    assert not accepts(live, "<think>Hmm</think>Hi")


def test_budget_of_the_server(serve: Serve) -> None:
    live = serve(
        template=OPEN_THINKING,
        settings=ServeSettings(reasoning_budget=2, reasoning_budget_message="!"),
    )
    ask(live)
    assert accepts(live, "Hm!</think>Hi")
    assert not accepts(live, "Hmm!</think>Hi")
    ask(live, extra_body={"thinking_budget_tokens": 3, "reasoning_budget_message": ""})
    assert accepts(live, "Hmm</think>Hi")


def test_effort_is_a_budget_where_the_template_knows_none(serve: Serve) -> None:
    live = serve(template=OPEN_THINKING)
    ask(live, reasoning_effort="low")
    constraint = live.generator.opened[-1].spec.constraint
    assert isinstance(constraint, ThinkingConstraint)
    assert constraint.max_tokens == 1024
    ask(live, reasoning_effort="high")
    assert live.generator.opened[-1].spec.constraint is None
    live = serve(template=OPEN_THINKING + "{# reasoning_effort #}")
    ask(live, reasoning_effort="low")
    assert live.generator.opened[-1].spec.constraint is None


class MarkTokenizer(ByteTokenizer):
    """A tokenizer with one more control token, which begins calls."""

    n_vocab = 260

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if parse_special and text == "<tool_call>":
            return [259]
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token == 259:
            return b"<tool_call>" if special else b""
        return super().piece(token, special=special)


def test_marks_that_are_control_tokens(serve: Serve) -> None:
    live = serve(PIECES, tokenizer=MarkTokenizer())
    ask(live, tools=TOOLS)
    request = live.generator.opened[-1]
    assert request.visible_tokens == {259}
    assert isinstance(request.spec.constraint, ThinkingConstraint)
    calls = request.spec.constraint.constraint
    assert isinstance(calls, LazyConstraint)
    assert calls.tokens == (259,)
    ask(live)
    assert live.generator.opened[-1].visible_tokens == frozenset()
