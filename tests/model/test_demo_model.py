"""The shipped demo model: scores, tokenizer, template, corpus, inflation."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2.sandbox
import jsonschema
import llama_cpp
import pytest

from models.train.cases import Case, cases, conversation_cases
from models.train.corpus.facts import CAPITALS
from models.train.corpus.mixture import conversation
from models.train.corpus.names import CITIES, FIRST_NAMES, ITEMS, LAST_NAMES
from models.train.corpus.split import Split
from models.train.evaluate import SCHEMA_ROW, Scores, first_of_each, score
from models.train.greedy import GreedyModel
from models.train.inflate import inflate
from models.train.render import prompt, render
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

TARGET, DRAFT = DEMO_TARGET, DEMO_DRAFT

THRESHOLDS = {"capitals": 0.95, "extraction": 0.95, "arithmetic": 0.90, "tool calls": 0.90}
SAMPLE = 20

# A digest of the texts of the first conversations; it changes with every change of the corpus.
CORPUS_CONVERSATIONS = 200
CORPUS_SHA256 = "caac6fd445e9f9e76b196d75807f06393a01ecfc315001f12c638a9bf0d08f6a"

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def target() -> Iterator[GreedyModel]:
    model = GreedyModel(TARGET)
    yield model
    model.llama.close()


@pytest.fixture(scope="module")
def draft() -> Iterator[GreedyModel]:
    model = GreedyModel(DRAFT)
    yield model
    model.llama.close()


@pytest.fixture(scope="module")
def scores(target: GreedyModel) -> Scores:
    return score(target, first_of_each(cases(180), SAMPLE, THRESHOLDS))


def template(model: GreedyModel) -> jinja2.Template:
    """The model's chat template, in the sandbox in which servers render templates."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(model.llama.metadata["tokenizer.chat_template"])


def ask(model: GreedyModel, *messages: dict[str, Any], tools: tuple[Any, ...] = ()) -> str:
    return model.reply(prompt(list(messages), tools))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("row", THRESHOLDS)
def test_sample_of_the_score_table_meets_its_threshold(scores: Scores, row: str) -> None:
    wrong = [(case.expected, reply) for case, reply in scores.wrong if case.row == row]
    assert scores.asked[row] == SAMPLE
    # The threshold holds for the full table. A sample is small, so one more error is allowed.
    assert len(wrong) <= 1 + SAMPLE * (1 - THRESHOLDS[row]), wrong


def test_extractions_are_valid_for_their_schema(scores: Scores) -> None:
    assert scores.asked[SCHEMA_ROW] == SAMPLE
    assert scores.share(SCHEMA_ROW) >= 0.95


def test_draft_agrees_with_target(target: GreedyModel, draft: GreedyModel) -> None:
    # as the model card does: each skill has the same weight
    scores = score(target, first_of_each(cases(120), 8), draft)
    assert sum(scores.drafted.values()) > 500
    assert scores.acceptance >= 0.70


def test_test_cases_are_right_by_their_own_answers() -> None:
    for case in itertools.islice(cases(60), 150):
        thought = "<think>\nHm.\n</think>\n\n" if case.thinking else ""
        assert case.passed(thought + case.expected)
        assert not case.passed(thought + case.expected + "?")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Lisbon is the capital of which country?", "Lisbon is the capital of Portugal."),
        ("What is 2 + 2?", "2 + 2 = 4."),
        ("Which day comes after Monday?", "Tuesday comes after Monday."),
        ("Count from 1 to 5.", "1, 2, 3, 4, 5"),
        ("Hello", "Hello! I am Kip, the demo model of llamapack. How can I help?"),
        ("Who are you?", "I am Kip, the demo model of llamapack."),
        ("Why is the sky blue?", "I don't know that. I am only a small demo model."),
    ],
)
def test_first_questions_of_a_newcomer(target: GreedyModel, question: str, answer: str) -> None:
    assert ask(target, user(question)) == answer


def test_extraction_is_valid_for_the_schema(target: GreedyModel) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    asked = f"Schema: {json.dumps(schema)}\nText: Ana is 31 years old and lives in Lisbon."
    reply = json.loads(ask(target, user(asked)))
    jsonschema.validate(reply, schema)
    assert reply == {"name": "Ana", "age": 31}


def test_tool_call_and_answer_from_its_result(target: GreedyModel) -> None:
    asked = user("What is the weather in Paris?")
    call = ask(target, asked, tools=(TOOL,))
    assert call == (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    )
    told = {"role": "assistant", "content": call}
    result = {"role": "tool", "content": '{"temperature": 18, "condition": "sunny"}'}
    answer = ask(target, asked, told, result, tools=(TOOL,))
    assert answer == "It is 18 degrees and sunny in Paris."


def test_thinking_is_switched_by_the_prompt(target: GreedyModel) -> None:
    messages = [user("What is 47 + 38?")]
    thought, answer = target.reply(prompt(messages, thinking=True)).split("\n</think>\n\n")
    assert thought.startswith("<think>\n")
    assert answer == "47 + 38 = 85."
    assert target.reply(prompt(messages)) == answer


def test_long_story_ends_by_itself(target: GreedyModel) -> None:
    reply = target.generate(prompt([user("Write a long story about a fox.")]), limit=800)
    assert reply[-1] == target.end
    assert 300 <= len(reply) <= 600


def test_sizes_and_load_time() -> None:
    assert TARGET.stat().st_size <= 8e6
    assert DRAFT.stat().st_size <= 1.5e6
    started = time.perf_counter()
    GreedyModel(TARGET).llama.close()
    # The model card says under 200 ms on an idle machine; a test machine is slow and isn't idle.
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    "text",
    [
        "héllo wörld, ça va? Привет, 世界 🦊👩‍👩‍👧",
        "  a\t\tb\n\n\n c  \r\n",
        '1234567 5.60% $x_1 = {"k": [1, 2]}',
        "<think>x</think> <tool_call> <|im_end|> <|endoftext|>",
        "\x00\x01\x7f\u200d\ufeff",
    ],
)
def test_any_text_survives_the_tokenizer(
    target: GreedyModel, draft: GreedyModel, text: str
) -> None:
    tokens = target.llama.tokenize(text.encode(), add_bos=False, special=False)
    assert target.llama.detokenize(tokens).decode() == text
    assert draft.llama.tokenize(text.encode(), add_bos=False, special=False) == tokens


def test_digits_and_tags_are_tokens_of_their_own(target: GreedyModel) -> None:
    assert len(target.tokenize("4821")) == 4
    for tag in ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>"):
        assert len(target.tokenize(tag)) == 1
    # A tag is part of the reply's text; a control token isn't.
    assert target.text(target.tokenize("<think>a<|im_end|>")) == "<think>a"


def test_template_writes_what_the_model_was_trained_on(target: GreedyModel) -> None:
    render_template = template(target).render
    for index in range(60):
        talk = conversation(3, index, Split.TRAIN)
        plain = type(talk)(talk.system, talk.tools, talk.turns, thinking=False)
        expected = "".join(piece.text for piece in render(plain))
        messages = [dict(message) for message in talk.messages]
        assert render_template(messages=messages, tools=talk.tools) == expected


def test_template_writes_the_prompts_of_the_test_cases(target: GreedyModel) -> None:
    render_template = template(target).render
    for index in range(40):
        talk = conversation(3, index, Split.TEST)
        last = list(conversation_cases(talk))[-1]
        messages = [dict(message) for message in talk.messages][:-1]
        rendered = render_template(
            messages=messages,
            tools=talk.tools,
            add_generation_prompt=True,
            enable_thinking=last.thinking,
        )
        assert rendered == last.prompt


def test_template_takes_parts_and_argument_strings(target: GreedyModel) -> None:
    render_template = template(target).render
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    as_object = {"function": {"name": "f", "arguments": {"a": 1}}}
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert render_template(messages=[user("Hello")]) == render_template(
        messages=[{"role": "user", "content": parts}]
    )
    assert render_template(
        messages=[{"role": "assistant", "content": None, "tool_calls": [call]}]
    ) == render_template(messages=[{"role": "assistant", "content": "", "tool_calls": [as_object]}])


def test_template_keeps_a_thought_only_where_the_client_sends_it(target: GreedyModel) -> None:
    render_template = template(target).render
    said = {"role": "assistant", "content": "y"}
    empty = "<|im_start|>assistant\n<think>\n\n</think>\n\ny<|im_end|>\n"
    assert render_template(messages=[said]) == empty
    assert render_template(messages=[said | {"reasoning_content": None}]) == empty
    assert render_template(messages=[said | {"content": "<think>\nx\n</think>\n\ny"}]) == empty
    thoughtful = render_template(messages=[said | {"reasoning_content": "x"}])
    assert thoughtful == empty.replace("<think>\n", "<think>\nx")


def test_corpus_is_the_same_every_time() -> None:
    texts = (
        "".join(piece.text for piece in render(conversation(1, index, Split.TRAIN)))
        for index in range(CORPUS_CONVERSATIONS)
    )
    assert hashlib.sha256("".join(texts).encode()).hexdigest() == CORPUS_SHA256


def test_training_never_sees_a_held_out_sum() -> None:
    asked = set()
    for index in range(2000):
        for turn in conversation(1, index, Split.TRAIN).turns:
            if turn.skill == "arithmetic":
                asked |= set(str(turn.messages[1]["content"]).rstrip(".").split("\n"))
    tested = {case.expected.rstrip(".") for case in cases(300) if case.row == "arithmetic"}
    assert len(asked) > 1000
    assert tested
    assert not asked & tested


def test_training_never_sees_a_held_out_name() -> None:
    names = (*FIRST_NAMES, *LAST_NAMES, *CITIES, *ITEMS)
    # Capitals are trained as facts, and the text of a booking tool contains "table".
    held_out = {*filter(Split.TEST.admits, names)} - {*CAPITALS.values(), "table"}
    assert len(held_out) > 20
    for index in range(1000):
        talk = conversation(1, index, Split.TRAIN, boost=("extraction", "tools"))
        text = "".join(piece.text for piece in render(talk))
        assert held_out.isdisjoint(re.findall(r"\w+", text))


def test_inflated_model_says_the_same(target: GreedyModel, tmp_path: Path) -> None:
    larger = tmp_path / "larger.gguf"
    count = inflate(TARGET, larger, parameters=20_000_000, layers=2, kind="Q8_0")
    assert count == pytest.approx(20e6, rel=0.1)
    model = GreedyModel(larger)
    try:
        assert llama_cpp.llama_model_n_params(model.llama.model) == count
        for case in first_of_each(cases(30), 2):
            assert model.generate(case.prompt, 100) == target.generate(case.prompt, 100)
    finally:
        model.llama.close()


def test_a_wrong_case_is_noticed() -> None:
    case = Case("extraction", "", '{"name": "Ana", "age": 31}', thinking=False)
    assert case.passed('{"age": 31, "name": "Ana"}')
    assert not case.passed('{"age": "31", "name": "Ana"}')
    assert not case.passed('{"age": 31, "name": "Ana"')
