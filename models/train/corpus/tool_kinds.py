"""The catalogue of tools: how each is declared, asked for and called, and how it is answered
from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.train.corpus.names import city, first_name, full_name, syllable_word
from models.train.corpus.split import Split
from models.train.corpus.wording import pick

Values = dict[str, Any]
Draw = Callable[[random.Random, Split], Any]


@dataclass(frozen=True)
class Param:
    """A parameter: its possible names, JSON type and description, and how a value is drawn."""

    names: tuple[str, ...]
    type: str
    about: str
    draw: Draw


@dataclass(frozen=True)
class ToolKind:
    """A family of tools with one meaning; a slot `{name}` is the first name of a parameter.

    `result` draws what the tool returns; `answer` may use the slots of parameters and result.
    """

    names: tuple[str, ...]
    about: tuple[str, ...]
    params: tuple[Param, ...]
    asks: tuple[str, ...]
    result: Callable[[random.Random], Values]
    answer: str


def _money(rng: random.Random, split: Split) -> int:
    return rng.randint(1, 999)


def _code(rng: random.Random, split: Split) -> str:
    return pick(rng, ("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "NOK", "CAD", "AUD", "INR"))


def _minutes(rng: random.Random, split: Split) -> int:
    return rng.randint(1, 90)


def _symbol(rng: random.Random, split: Split) -> str:
    while True:
        word = syllable_word(rng)[:4].upper()
        if split.admits(word):
            return word


def _clock(rng: random.Random, split: Split) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


def _order(rng: random.Random, split: Split) -> str:
    return f"{pick(rng, ('A', 'B', 'K', 'ORD-', 'X-', ''))}{rng.randint(1000, 99999)}"


def _expression(rng: random.Random, split: Split) -> str:
    a, b = rng.randint(2, 9999), rng.randint(2, 999)
    return f"{a} {pick(rng, ('*', '*', '/', '+', '-'))} {b}"


def _people(rng: random.Random, split: Split) -> int:
    return rng.randint(2, 12)


def _sides(rng: random.Random, split: Split) -> int:
    return pick_int(rng, (4, 6, 8, 10, 12, 20))


def pick_int(rng: random.Random, options: tuple[int, ...]) -> int:
    """One of `options`, uniformly."""
    return options[int(rng.random() * len(options))]


def _room(rng: random.Random, split: Split) -> str:
    return pick(
        rng,
        (
            "kitchen",
            "bedroom",
            "bathroom",
            "garage",
            "hall",
            "office",
            "garden",
            "living room",
            "cellar",
            "attic",
        ),
    )


def _words(rng: random.Random, split: Split) -> str:
    while True:
        text = pick(
            rng,
            (
                "I am late",
                "see you soon",
                "call me back",
                "the train is late",
                "happy birthday",
                "dinner is ready",
                "good luck",
                "I am at home",
                "the meeting is over",
                "bring some milk",
            ),
        )
        who = first_name(rng, split)
        return text if rng.random() < 0.6 else f"{text}, {who}"


def _topic(rng: random.Random, split: Split) -> str:
    head = pick(
        rng,
        (
            "history of",
            "news about",
            "recipes with",
            "books about",
            "price of",
            "photos of",
            "jobs in",
            "hotels in",
            "facts about",
            "weather records of",
        ),
    )
    return f"{head} {city(rng, split)}"


def _float(rng: random.Random) -> float:
    return rng.randint(1, 900) + rng.randint(1, 9) / 10


PLACE = Param(("city", "city", "location", "place"), "string", "The name of the city", city)
KINDS = (
    ToolKind(
        ("get_weather", "get_weather", "weather", "get_current_weather", "current_weather"),
        ("Get the current weather in a city", "Current weather for a place", "Get the weather"),
        (PLACE,),
        (
            "What is the weather in {city}?",
            "How is the weather in {city}?",
            "What's the weather like in {city}?",
            "Is it raining in {city}?",
            "Tell me the weather in {city}.",
            "How warm is it in {city}?",
            "What is the weather like in {city} today?",
            "Weather in {city}?",
        ),
        lambda rng: {
            "temperature": rng.randint(-9, 39),
            "condition": pick(
                rng, ("sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear")
            ),
        },
        "It is {temperature} degrees and {condition} in {city}.",
    ),
    ToolKind(
        ("get_time", "get_time", "current_time", "get_local_time", "clock"),
        ("Get the local time in a city", "Current time in a place", "Tell the time in a city"),
        (PLACE,),
        (
            "What time is it in {city}?",
            "Tell me the time in {city}.",
            "Time in {city}?",
            "What is the local time in {city}?",
            "How late is it in {city}?",
        ),
        lambda rng: {"time": _clock(rng, Split.TRAIN)},
        "It is {time} in {city}.",
    ),
    ToolKind(
        ("convert_currency", "convert_currency", "exchange", "currency_converter"),
        ("Convert an amount of money", "Convert money from one currency to another"),
        (
            Param(("amount",), "number", "How much money", _money),
            Param(("from", "from_currency", "source"), "string", "The currency to convert", _code),
            Param(("to", "to_currency", "target"), "string", "The currency wanted", _code),
        ),
        (
            "Convert {amount} {from} to {to}.",
            "How much is {amount} {from} in {to}?",
            "What is {amount} {from} in {to}?",
            "Exchange {amount} {from} for {to}.",
        ),
        lambda rng: {"result": _float(rng)},
        "{amount} {from} is {result} {to}.",
    ),
    ToolKind(
        ("search", "web_search", "search_web", "find_pages"),
        ("Search the web", "Search the internet for pages", "Find web pages"),
        (Param(("query", "query", "q"), "string", "What to search for", _topic),),
        (
            "Search the web for {query}.",
            "Search for {query}.",
            "Look up {query}.",
            "Find {query} on the web.",
        ),
        lambda rng: {"results": rng.randint(1, 99)},
        "I found {results} results for {query}.",
    ),
    ToolKind(
        ("set_timer", "start_timer", "timer"),
        ("Set a timer", "Start a timer", "Start a countdown"),
        (Param(("minutes", "minutes", "duration"), "integer", "How many minutes", _minutes),),
        (
            "Set a timer for {minutes} minutes.",
            "Start a timer of {minutes} minutes.",
            "Wake me in {minutes} minutes.",
            "Timer for {minutes} minutes, please.",
        ),
        lambda rng: {"status": pick(rng, ("ok", "started", "running"))},
        "The timer is set for {minutes} minutes.",
    ),
    ToolKind(
        ("get_stock_price", "stock_price", "get_quote"),
        ("Get the price of a stock", "Current stock price"),
        (Param(("symbol", "symbol", "ticker"), "string", "The stock symbol", _symbol),),
        (
            "What is the price of {symbol}?",
            "What is the stock price of {symbol}?",
            "How is {symbol} trading?",
            "Stock price of {symbol}?",
        ),
        lambda rng: {"price": _float(rng)},
        "{symbol} is at {price}.",
    ),
    ToolKind(
        ("play_music", "play_artist", "music_player"),
        ("Play music by an artist", "Play songs of an artist"),
        (Param(("artist", "artist", "name"), "string", "The artist", full_name),),
        (
            "Play music by {artist}.",
            "Play something by {artist}.",
            "Play some songs by {artist}.",
            "I want to hear {artist}.",
        ),
        lambda rng: {"status": pick(rng, ("ok", "playing"))},
        "Now playing {artist}.",
    ),
    ToolKind(
        ("get_order", "lookup_order", "order_status", "get_order_status"),
        ("Look up an order", "Get the status of an order"),
        (Param(("order_id", "order_id", "id"), "string", "The order number", _order),),
        (
            "Where is my order {order_id}?",
            "What is the status of order {order_id}?",
            "Look up order {order_id}.",
            "Has order {order_id} been sent?",
        ),
        lambda rng: {
            "status": pick(rng, ("shipped", "delivered", "waiting", "cancelled", "packed"))
        },
        "Order {order_id} is {status}.",
    ),
    ToolKind(
        ("book_table", "reserve_table", "make_reservation"),
        ("Book a table in a restaurant", "Reserve a table"),
        (
            Param(("people", "people", "guests"), "integer", "How many guests", _people),
            Param(("time",), "string", "When, as HH:MM", _clock),
        ),
        (
            "Book a table for {people} people at {time}.",
            "Reserve a table for {people} at {time}.",
            "I need a table for {people} at {time}.",
            "A table for {people} people at {time}, please.",
        ),
        lambda rng: {"status": pick(rng, ("booked", "confirmed", "ok"))},
        "A table for {people} at {time} is booked.",
    ),
    ToolKind(
        ("turn_on_light", "light_on", "switch_on_light"),
        ("Turn on the light in a room", "Switch a light on"),
        (Param(("room", "room", "place"), "string", "The room", _room),),
        (
            "Turn on the light in the {room}.",
            "Switch on the {room} light.",
            "Light in the {room}, please.",
            "It is dark in the {room}.",
        ),
        lambda rng: {"status": pick(rng, ("on", "ok"))},
        "The light in the {room} is on.",
    ),
    ToolKind(
        ("send_message", "send_message", "send_text", "message"),
        ("Send a message to someone", "Send a text message"),
        (
            Param(("to", "recipient", "to"), "string", "Who gets it", first_name),
            Param(("text", "message", "body"), "string", "The text of the message", _words),
        ),
        (
            "Send a message to {to}: {text}",
            "Tell {to}: {text}",
            "Text {to}: {text}",
            'Send {to} the message "{text}".',
        ),
        lambda rng: {"status": pick(rng, ("sent", "ok"))},
        "Your message to {to} was sent.",
    ),
    ToolKind(
        ("get_distance", "distance", "route_length"),
        ("Get the distance between two cities", "Distance between two places in km"),
        (
            Param(("from", "origin", "start"), "string", "Where it starts", city),
            Param(("to", "destination", "end"), "string", "Where it ends", city),
        ),
        (
            "How far is it from {from} to {to}?",
            "What is the distance from {from} to {to}?",
            "How many kilometres is it from {from} to {to}?",
        ),
        lambda rng: {"km": rng.randint(2, 9999)},
        "It is {km} km from {from} to {to}.",
    ),
    ToolKind(
        ("find_contact", "get_contact", "lookup_contact"),
        ("Find somebody's phone number", "Look up a contact"),
        (Param(("name", "name", "person"), "string", "The name of the person", full_name),),
        (
            "What is the phone number of {name}?",
            "Find the number of {name}.",
            "How can I call {name}?",
            "Look up the contact {name}.",
        ),
        lambda rng: {"phone": f"{rng.randint(100, 999)}-{rng.randint(100, 999)}"},
        "The phone number of {name} is {phone}.",
    ),
    ToolKind(
        ("roll_dice", "roll_die", "dice"),
        ("Roll a die", "Roll a die with some sides"),
        (Param(("sides", "sides", "faces"), "integer", "How many sides it has", _sides),),
        (
            "Roll a die with {sides} sides.",
            "Roll a {sides}-sided die.",
            "Throw a die with {sides} sides.",
        ),
        lambda rng: {"value": rng.randint(1, 20)},
        "The die shows {value}.",
    ),
    ToolKind(
        ("calculate", "calculator", "calc", "evaluate"),
        ("Calculate an expression", "Evaluate an arithmetic expression"),
        (Param(("expression", "expression", "expr"), "string", "The expression", _expression),),
        (
            "What is {expression}?",
            "Calculate {expression}.",
            "Compute {expression}.",
            "How much is {expression}?",
            "Use the tool to work out {expression}.",
        ),
        lambda rng: {"result": rng.randint(1, 99999)},
        "The result is {result}.",
    ),
)
