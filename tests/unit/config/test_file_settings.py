"""Settings that are read from their own files."""

from pathlib import Path

import pytest

from config import ConfigError, file_settings, load_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "content"


def test_a_key_file_has_a_key_a_line(path: Path) -> None:
    path.write_text("# team\nkey-1\n\n  key-2  \n")
    settings = load_settings(["--api-key-file", str(path)], {})
    assert file_settings.api_key_lines(settings) == ("key-1", "key-2")


def test_a_toml_of_keys_is_read(path: Path) -> None:
    path.write_text("[keys.a]\nkey = 'k'\n")
    settings = load_settings(["--api-keys-toml", str(path)], {})
    assert file_settings.api_keys_toml(settings) == {"keys": {"a": {"key": "k"}}}
    path.write_text("[keys.a\n")
    with pytest.raises(ConfigError, match=f"{path} is not a TOML file"):
        file_settings.api_keys_toml(settings)


def test_a_key_file_without_a_key_does_not_open_the_server(path: Path) -> None:
    path.write_text("# nothing yet\n")
    settings = load_settings(["--api-key-file", str(path)], {})
    with pytest.raises(ConfigError, match="has no key in it"):
        file_settings.api_key_lines(settings)


def test_without_files_the_inline_values_count() -> None:
    settings = load_settings(["--chat-template", "T", "--grammar", "G"], {})
    assert (file_settings.chat_template(settings), file_settings.grammar(settings)) == ("T", "G")
    assert file_settings.api_key_lines(settings) == ()
    assert file_settings.api_keys_toml(settings) == {}
    schema = load_settings(["-j", '{"type": "object"}'], {})
    assert file_settings.json_schema(schema) == {"type": "object"}


def test_files_are_read(path: Path) -> None:
    path.write_text('{"type": "null"}')
    template = load_settings(["--chat-template-file", str(path)], {})
    assert file_settings.chat_template(template) == '{"type": "null"}'
    grammar = load_settings(["--grammar-file", str(path)], {})
    assert file_settings.grammar(grammar) == '{"type": "null"}'
    schema = load_settings(["-jf", str(path)], {})
    assert file_settings.json_schema(schema) == {"type": "null"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"[]", "must hold a JSON object"), (b"\xff", "is not a text file")],
)
def test_a_wrong_file_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    settings = load_settings(["-jf", str(path)], {})
    with pytest.raises(ConfigError, match=f"{path} {message}"):
        file_settings.json_schema(settings)
