"""Production-like traffic for locust.

    locust -f loadtests/traffic.py --host http://127.0.0.1:8080 [--key KEY]
    locust -f loadtests/traffic.py,loadtests/shapes/burst.py --headless ... --slo-ttft-p95 500

`ChatUser` pauses between its questions, and its conversations grow. `ExtractionUser` is a job that
extracts fields from texts, one after the other. There are three chat users for each extraction
user. `loadtests/shapes/` defines the number of users over time; `loadtests.slo` defines the limits
of a run.
"""

from __future__ import annotations

import json
import random
from argparse import ArgumentParser
from typing import Any, ClassVar

import msgspec
from locust import constant, events, task

import loadtests.slo  # noqa: F401  # its options and its verdict
from loadtests.harness.scenario import Record, Request
from loadtests.streaming_user import StreamingUser

CHAT = "/v1/chat/completions"
SYSTEM = "You are a helpful assistant who answers in one or two short sentences."
QUESTIONS = (
    "What is the capital of {}?",
    "Tell me a short story about {}.",
    "What do you know about {}?",
    "How far is it to {}?",
    "And what about {}?",
)
THINGS = ("France", "Japan", "Peru", "Kenya", "Norway", "a fox", "the sea", "a clock", "the moon")
NAMES = ("Anna", "Boris", "Chen", "Dalia", "Emeka", "Farah", "Goran", "Hana")
FIELDS = ("name", "age", "city")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "city": {"type": "string", "maxLength": 24},
    },
    "required": FIELDS,
    "additionalProperties": False,
}


def add_options(parser: ArgumentParser) -> None:
    """Add the options that all users share."""
    parser.add_argument("--key", default="", help="API key")
    parser.add_argument("--think", type=float, default=4.0, help="mean seconds between questions")
    parser.add_argument("--turns", type=int, default=6, help="questions of a conversation")
    parser.add_argument("--answer-tokens", type=int, default=64, help="most tokens of an answer")


events.init_command_line_parser.add_listener(add_options)


class ChatterUser(StreamingUser):
    """The base of both kinds of users."""

    abstract = True

    def ask(self, name: str, messages: list[dict[str, str]], **fields: Any) -> Record:
        """Send one streamed chat completion."""
        options = self.environment.parsed_options
        body = {
            "messages": messages,
            "max_tokens": options.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **fields,
        }
        request = Request(CHAT, msgspec.json.encode(body), None, options.answer_tokens, "openai")
        check = _check_json if "response_format" in fields else lambda record: ""
        headers = {"Authorization": f"Bearer {options.key}"} if options.key else None
        return self.send(request, name, check, headers)


class ChatUser(ChatterUser):
    """Reads, pauses and asks again; begins another conversation after some turns."""

    weight = 3

    def wait_time(self) -> float:
        """Seconds to the next question; some questions come quickly, others later."""
        return random.uniform(0.2, 1.8) * float(self.environment.parsed_options.think)

    def on_start(self) -> None:
        self._messages: list[dict[str, str]] = []

    @task  # type: ignore[untyped-decorator]
    def ask_on(self) -> None:
        """Ask the next question, with the whole conversation so far."""
        if len(self._messages) >= 2 * self.environment.parsed_options.turns:
            self._messages = []
        if not self._messages:
            self._messages = [{"role": "system", "content": SYSTEM}]
        question = random.choice(QUESTIONS).format(random.choice(THINGS))
        asked = [*self._messages, {"role": "user", "content": question}]
        record = self.ask("chat", asked)
        if record.error:
            return  # the next call asks another question
        self._messages = [*asked, {"role": "assistant", "content": "".join(record.text)}]


class ExtractionUser(ChatterUser):
    """Sends texts and expects JSON, as fast as possible."""

    weight = 1
    wait_time = constant(0.1)
    schema: ClassVar[dict[str, Any]] = {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
    }

    @task  # type: ignore[untyped-decorator]
    def extract(self) -> None:
        """Extract one record from one text."""
        name, age = random.choice(NAMES), random.randint(18, 90)
        text = f"{name} is {age} years old and lives in {random.choice(THINGS)}."
        messages = [{"role": "user", "content": f"Extract the person: {text}"}]
        self.ask(
            "extraction",
            messages,
            response_format=self.schema,
            temperature=0,
            chat_template_kwargs={"enable_thinking": False},
        )


def _check_json(record: Record) -> str:
    """What is wrong with a finished answer: it has to be an object that satisfies the schema."""
    if record.reason == "length":
        return ""
    try:
        value = json.loads("".join(record.text))
    except json.JSONDecodeError as error:
        return f"the answer is no JSON: {error}"
    missing = set(FIELDS) - set(value)
    return f"{missing} are missing" if missing else ""
