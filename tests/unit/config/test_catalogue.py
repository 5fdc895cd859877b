"""The declarations as a whole: each name of llama-server is known and has one meaning."""

from pathlib import Path

import pytest

from config import ConfigError, load_settings
from config.actions import ACTIONS
from config.catalogue import flags, keys, settings, variables
from config.help import render_help
from config.option import key_of
from config.presets import preset_names
from config.refused import IGNORED, REFUSED, Refused

NAMES = Path(__file__).parent.joinpath("llama_server_names.txt").read_text().splitlines()[1:]
# Handled before the settings are read, or not a name of the server's own.
ELSEWHERE = {*(flag for action in ACTIONS for flag in action.flags), "MTMD_BACKEND_DEVICE"}


def test_every_name_of_llama_server_is_a_setting_or_refused() -> None:
    assert len(NAMES) > 500
    assert set(NAMES) - ELSEWHERE - set(flags()) - set(variables()) == set()


def test_a_field_is_called_like_one_of_its_flags() -> None:
    for setting in settings():
        assert setting.field in [key_of(flag) for flag in setting.option.flags]


def test_every_key_is_unique_and_every_setting_has_one() -> None:
    assert {setting.field for setting in settings()} - set(keys()) == {"config"}


def test_defaults_pass_their_own_checks() -> None:
    # Defaults are not validated by themselves; given as flags they are.
    for setting in settings():
        default = getattr(load_settings([], {}), setting.field)
        if (
            isinstance(default, int | float | str)
            and not isinstance(default, bool)
            and default != ""
        ):
            name = max(setting.option.flags, key=len)
            assert getattr(load_settings([name, str(default)], {}), setting.field) == default


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.key)
def test_refused_flags_say_why_and_harmless_values_pass(refused: Refused) -> None:
    flag = refused.flags[0]
    value = ["some-value"] if refused.takes_value else []
    wrong = [refused.negative[0]] if "on" in refused.inert and refused.negative else [flag, *value]
    if wrong != [flag] or "on" not in refused.inert:
        with pytest.raises(ConfigError, match=wrong[0]) as caught:
            load_settings(wrong, {})
        assert refused.reason in str(caught.value)
    for inert in refused.inert:
        harmless = [flag, inert] if refused.takes_value else list(refused.negative[:1])
        if refused.takes_value or (inert == "off" and harmless):
            load_settings(harmless, {})
        if refused.env is not None:
            load_settings([], {refused.env: inert})


def test_the_opposite_of_a_refused_variable_turns_it_off() -> None:
    load_settings([], {"LLAMA_ARG_NO_CONTEXT_SHIFT": "1", "LLAMA_ARG_NO_MODELS_AUTOLOAD": "1"})
    with pytest.raises(ConfigError, match="LLAMA_ARG_NO_JINJA: chats are always rendered"):
        load_settings([], {"LLAMA_ARG_NO_JINJA": "1"})


def test_the_help_names_every_option_without_effect_and_why() -> None:
    text = " ".join(render_help(80).split())
    for ignored in IGNORED:
        assert all(flag in text for flag in ignored.flags)
        assert ignored.reason in text


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str) -> None:
    assert load_settings(["--preset", name], {}).preset == name
