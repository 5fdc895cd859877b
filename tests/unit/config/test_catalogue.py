"""The declarations as a whole: each name of llama-server is known and has one meaning."""

import pytest

from config import ConfigError, load_settings
from config.actions import ACTIONS
from config.help import render_help
from config.llama_server_table import names
from config.names import flags, keys, settings, variables
from config.option import key_of
from config.presets import preset_names, shortcut_names
from config.refused import IGNORED, REFUSED, Ignored, Refused

NAMES = names()
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


def test_the_help_names_every_option_without_effect_and_why() -> None:
    text = " ".join(render_help(80).split())
    for ignored in IGNORED:
        assert all(flag in text for flag in ignored.flags)
        assert ignored.reason in text


@pytest.mark.parametrize("ignored", IGNORED, ids=lambda ignored: ignored.key)
def test_an_option_without_effect_is_taken_in_every_form(ignored: Ignored) -> None:
    value = ["5"] if ignored.takes_value else []
    for flag in (*ignored.flags, *ignored.negative):
        notices: list[str] = []
        assert load_settings([flag, *value], {}, notices.append) == load_settings([], {})
        assert notices == [f"{flag} has no effect: {ignored.reason}"]
    if ignored.env is not None:
        assert load_settings([], {ignored.env: "1"}) == load_settings([], {})


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.key)
def test_what_is_refused_says_what_to_do_instead(refused: Refused) -> None:
    assert ";" in refused.reason or " use " in refused.reason or refused.reason.startswith("set ")


@pytest.mark.parametrize("name", shortcut_names())
def test_a_shortcut_of_llama_server_is_a_preset_with_a_flag(name: str) -> None:
    settings = load_settings([f"--{name}", "--parallel", "3"], {})
    assert settings.preset == name
    assert settings.hf_repo is not None
    assert settings.hf_repo.startswith("ggml-org/")
    assert (settings.parallel, settings.port in (8011, 8012, 8013, 8014)) == (3, True)
    assert bool(settings.spec_draft_hf) == name.endswith("-spec")
    own = load_settings([f"--{name}", "-m", "own.gguf"], {})
    assert (own.hf_repo, own.hf_file) == (None, None)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str) -> None:
    assert load_settings(["--preset", name], {}).preset == name
