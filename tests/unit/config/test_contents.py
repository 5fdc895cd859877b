"""Settings that are read from files of their own."""

from pathlib import Path

import pytest

from config import ConfigError, contents, load_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "content"


def test_keys_of_flag_and_file_add_up(path: Path) -> None:
    path.write_text("# team\nkey-1\n\n  key-2  \n")
    settings = load_settings(["--api-key", "key-0", "--api-key-file", str(path)], {})
    assert contents.api_keys(settings) == {"key-0", "key-1", "key-2"}


def test_a_key_file_without_a_key_does_not_open_the_server(path: Path) -> None:
    path.write_text("# nothing yet\n")
    settings = load_settings(["--api-key-file", str(path)], {})
    with pytest.raises(ConfigError, match="has no key in it"):
        contents.api_keys(settings)


def test_without_files_the_inline_values_count() -> None:
    settings = load_settings(["--chat-template", "T", "--grammar", "G", "--api-key", "k"], {})
    assert (contents.chat_template(settings), contents.grammar(settings)) == ("T", "G")
    assert contents.api_keys(settings) == {"k"}
    schema = load_settings(["-j", '{"type": "object"}'], {})
    assert contents.json_schema(schema) == {"type": "object"}


def test_files_are_read(path: Path) -> None:
    path.write_text('{"type": "null"}')
    template = load_settings(["--chat-template-file", str(path)], {})
    assert contents.chat_template(template) == '{"type": "null"}'
    grammar = load_settings(["--grammar-file", str(path)], {})
    assert contents.grammar(grammar) == '{"type": "null"}'
    schema = load_settings(["-jf", str(path)], {})
    assert contents.json_schema(schema) == {"type": "null"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"[]", "must hold a JSON object"), (b"\xff", "is not a text file")],
)
def test_a_wrong_file_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    settings = load_settings(["-jf", str(path)], {})
    with pytest.raises(ConfigError, match=f"{path} {message}"):
        contents.json_schema(settings)
