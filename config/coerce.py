"""Text to typed values, for what pydantic can't read by itself.

Every function takes text (from a flag or a variable) or an already typed TOML value. A value
that can't be read raises ValueError with a message that starts with "must".
"""

import csv
import json
import re
from collections.abc import Callable, Iterable

from config.durations import seconds_of

ON_WORDS = ("true", "1", "on", "enabled")
OFF_WORDS = ("false", "0", "off", "disabled")

MAX_METADATA_BYTES = 127
"""Bytes of a key, and of a text, that llama.cpp takes instead of the model's own."""

MAX_CPUS = 512
"""CPUs that llama.cpp can tell apart."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


def to_switch(value: object) -> object:
    """A boolean from llama-server's words for on and off."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ON_WORDS:
        return True
    if word in OFF_WORDS:
        return False
    raise ValueError("must be true, 1, on, enabled, false, 0, off or disabled")


def to_on_off_auto(value: object) -> object:
    """`on`, `off` or `auto` from any of the words that mean them."""
    word = str(value).strip().lower()
    if word in ("auto", "-1"):
        return "auto"
    if word in ON_WORDS:
        return "on"
    if word in OFF_WORDS:
        return "off"
    raise ValueError("must be on, off or auto")


def to_on_off(value: object) -> object:
    """`on` or `off` from any of the words that mean them."""
    return "on" if to_switch(value) else "off"


def not_a_switch(value: object) -> object:
    """The value unchanged. Raises ValueError for TOML's true and false, which pydantic reads as 1
    and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def to_gpu_layers(value: object) -> object:
    """A number of layers. `auto` is -1 and `all` is -2."""
    return {"auto": -1, "all": -2}.get(str(value).strip().lower(), not_a_switch(value))


def to_list(value: object) -> object:
    """Comma-separated text, or several such texts, as a list without empty items.

    An item that contains a comma can stand in double quotes.
    """
    items: list[str] = []
    for part in _parts(value):
        row = next(csv.reader([part], skipinitialspace=True), [])
        items += [item.strip() for item in row]
    return [item for item in items if item]


def to_masked_cpus(value: object) -> object:
    """The CPUs of hexadecimal masks, the lowest bit being CPU 0; several masks add up."""
    return _cpus(value, _masked)


def to_ranged_cpus(value: object) -> object:
    """The CPUs of ranges such as `0-3`, both ends included; an end that is missing is the first or
    the last CPU. Several ranges add up."""
    return _cpus(value, _ranged)


def to_scaled_files(value: object) -> object:
    """Comma-separated `FILE:SCALE` as (file, scale) pairs."""
    items = to_list(value)
    assert isinstance(items, list)
    return [_scaled(item) for item in items]


def to_metadata(value: object) -> object:
    """(key, value) pairs from comma-separated `KEY=TYPE:VALUE`; commas can stand in quotes."""
    items = to_list(value)
    assert isinstance(items, list)
    return [_metadata(item) for item in items]


def to_tensor_buffers(value: object) -> object:
    """(regular expression, memory) pairs from comma-separated `REGEX=MEMORY`."""
    items = [item for part in _parts(value) for item in part.split(",") if item.strip()]
    return [_tensor_buffer(item.strip()) for item in items]


def to_endpoints(value: object) -> object:
    """Comma-separated `HOST:PORT`, each once."""
    items = to_list(value)
    assert isinstance(items, list)
    for item in items:
        _check_endpoint(item)
    if len(set(items)) < len(items):
        raise ValueError("must name each server once")
    return items


def to_proportions(value: object) -> object:
    """`3,1` or `3/1` as a list of numbers."""
    if isinstance(value, str):
        return [item for item in value.replace("/", ",").split(",") if item.strip()]
    return value


def to_numbers(value: object) -> object:
    """A number or several, also as text with commas, as a list."""
    return to_proportions([value] if isinstance(value, int) else value)


def to_sequence_breakers(value: object) -> object:
    """DRY's sequence breakers, escapes unread. The word `none` removes all before it."""
    breakers: list[str] = []
    for part in _parts(value):
        breakers = [] if part == "none" else [*breakers, part]
    return breakers


def to_stay(value: object) -> object:
    """Seconds that a model stays without a request; -1 is for ever."""
    seconds = seconds_of(value)
    if seconds is None or (seconds != -1 and seconds <= 0):
        raise ValueError("must be more than 0 seconds, a duration such as 5m, or -1")
    return seconds


def to_memory_limits(value: object) -> object:
    """MiB of host memory and of device memory, also as text with a comma; the second may lack."""
    numbers = value.split(",") if isinstance(value, str) else value
    if isinstance(numbers, int) and not isinstance(numbers, bool):
        numbers = [numbers]
    if not isinstance(numbers, list | tuple) or not 1 <= len(numbers) <= 2:
        raise ValueError("must be MiB of host memory, and after a comma of device memory")
    return (*numbers, 0)[:2]


def to_pair(value: object) -> object:
    """Two numbers, also as text with a comma."""
    numbers = value.split(",") if isinstance(value, str) else value
    if not isinstance(numbers, list | tuple) or len(numbers) != 2:
        raise ValueError("must be two numbers")
    return numbers


def to_texts(value: object) -> object:
    """One text or several; commas are part of a text."""
    return [part for part in _parts(value) if part]


def to_logit_bias(value: object) -> object:
    """(token, bias) pairs from TOML pairs or from comma-separated text such as `15043+1,15-inf`."""
    pairs: list[object] = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            pairs += [_bias(item) for item in part.split(",") if item.strip()]
        else:
            pairs.append(part)
    return pairs


def to_json_object(value: object) -> object:
    """A JSON object as a dict."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"must be a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def _cpus(value: object, read: Callable[[str], Iterable[int]]) -> list[int]:
    return sorted({cpu for part in _parts(value) for cpu in read(part.strip())})


def _masked(text: str) -> Iterable[int]:
    try:
        mask = int(text, 16)
    except ValueError:
        mask = 0
    if not 0 < mask < 1 << MAX_CPUS:
        raise ValueError(f"must be a hexadecimal mask of at most {MAX_CPUS} CPUs, such as f0")
    return (cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1)


def _ranged(text: str) -> Iterable[int]:
    first, dash, last = text.partition("-")
    ends = (first or "0", last or str(MAX_CPUS - 1))
    if dash and text != "-" and all(end.isascii() and end.isdigit() for end in ends):
        start, stop = map(int, ends)
        if start <= stop < MAX_CPUS:
            return range(start, stop + 1)
    raise ValueError(f"must be a range of CPUs below {MAX_CPUS}, such as 0-3")


def _metadata(text: str) -> tuple[str, object]:
    key, _, typed = text.partition("=")
    kind, _, value = typed.partition(":")
    read = _METADATA_TYPES.get(kind)
    try:
        if read is not None and 0 < len(key.encode()) <= MAX_METADATA_BYTES:
            return key, read(value)
    except (KeyError, ValueError):
        pass
    raise ValueError(
        "must look like general.name=str:text (a key, a type out of int, float, bool and str, a "
        f"value of that type; key and text have at most {MAX_METADATA_BYTES} bytes)"
    )


def _int64(text: str) -> int:
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError
    return number


def _short_text(text: str) -> str:
    if len(text.encode()) > MAX_METADATA_BYTES or "\0" in text:
        raise ValueError
    return text


_METADATA_TYPES: dict[str, Callable[[str], object]] = {
    "int": _int64,
    "float": float,
    "bool": {"true": True, "false": False}.__getitem__,
    "str": _short_text,
}


def _tensor_buffer(text: str) -> tuple[str, str]:
    pattern, found, memory = text.rpartition("=")
    if not (found and pattern and memory):
        raise ValueError(r"must look like blk\.0\.=CPU (a regular expression, =, a memory)")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"must have a regular expression before = ({error})") from None
    return pattern, memory


def _check_endpoint(text: object) -> None:
    """llama.cpp reads the port after the first colon, so IPv6 addresses can't be written."""
    host, _, port = str(text).partition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
    if not (_HOST.fullmatch(host) and is_port):
        raise ValueError("must look like 192.168.1.7:50052 (a host or IPv4 address, and a port)")


def _scaled(text: str) -> tuple[str, float]:
    file, found, scale = text.rpartition(":")
    try:
        if found and file:
            return file, float(scale)
    except ValueError:
        pass
    raise ValueError("must look like adapter.gguf:0.5 (a file, a colon, a scale)")


def _bias(text: str) -> tuple[int, float]:
    for sign in "+-":
        token, found, bias = text.strip().partition(sign)
        if found and token.strip().isdigit():
            try:
                return int(token), float(sign + bias.strip())
            except ValueError:
                break
    raise ValueError("must look like 15043+1 or 15043-1 (a token id, a sign, a bias)")


def unescape(text: str) -> str:
    """The text with `\\n`, `\\r`, `\\t`, `\\\\` and escaped quotes read."""
    result, position = "", 0
    while position < len(text):
        following = text[position + 1 : position + 2]
        if text[position] == "\\" and following in _ESCAPES:
            result += _ESCAPES[following]
            position += 2
        else:
            result += text[position]
            position += 1
    return result


def _parts(value: object) -> Iterable[str]:
    return [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]
