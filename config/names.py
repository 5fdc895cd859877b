"""Tables of every flag, variable and TOML key, and the setting that each name stands for."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from config.errors import ConfigError
from config.option import Option, Spelling, key_of
from config.refused import FOREIGN, ForeignOption, Ignored, Refused, canonical
from config.settings import ServeSettings

NO_TOML_KEY = ("config",)


@dataclass(frozen=True)
class Setting:
    """One setting: the name of its field in `ServeSettings`, and its declaration."""

    field: str
    option: Option

    @property
    def is_switch(self) -> bool:
        """Whether the setting is on or off. The flags of a switch take no value."""
        return ServeSettings.model_fields[self.field].annotation is bool

    @property
    def env(self) -> str:
        """The name of its environment variable."""
        return self.option.env or f"LLAMA_ARG_{self.field.upper()}"

    @property
    def negative(self) -> tuple[str, ...]:
        """The flags that turn a switch off."""
        if not self.is_switch:
            return ()
        long = [
            flag
            for flag in self.option.flags
            if flag.startswith("--") and not flag.startswith("--no-")
        ]
        return (*self.option.negative, *(f"--no-{flag[2:]}" for flag in long))


@dataclass(frozen=True)
class Meaning:
    """What one name stands for: an option, perhaps by another spelling or by its negative."""

    target: Setting | Refused | Ignored
    spelling: Spelling | None = None
    negated: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether the flag is followed by a value."""
        if isinstance(self.target, ForeignOption):
            return self.target.takes_value
        if self.spelling is not None:
            return self.spelling.convert is not None
        return not self.target.is_switch

    @property
    def num_values(self) -> int:
        """How many values follow a flag that takes any."""
        if isinstance(self.target, Setting) and self.spelling is None:
            return self.target.option.num_values
        return 1

    def value(self, given: object, name: str) -> object:
        """The value that the setting gets when `given` is given under this name.

        None means that the setting keeps its value. Raises ConfigError if the option is refused
        or its other spelling can't be read.
        """
        if isinstance(self.target, Refused):
            return self._inert(given, name)
        if isinstance(self.target, Ignored):
            return self._switched(given)
        if self.spelling is None:
            return self._switched(given) if self.target.is_switch else given
        if self.spelling.convert is None:
            return self._constant(given, name)
        try:
            return self.spelling.convert(str(given))
        except ValueError as error:
            raise ConfigError(f"{name} {error}, got {given}") from None

    def _inert(self, given: object, name: str) -> object:
        assert isinstance(self.target, Refused)
        if not self.target.is_inert(self._switched(given)):
            raise ConfigError(f"{name}: {self.target.reason}")
        return None

    def _switched(self, given: object) -> object:
        word = "on" if given is None else canonical(given)
        if self.negated and word in ("on", "off"):
            return "off" if word == "on" else "on"
        return given if given is not None else "on"

    def _constant(self, given: object, name: str) -> object:
        assert self.spelling is not None
        word = canonical(self._switched(given))
        if word == "on":
            return self.spelling.on
        if word != "off":
            raise ConfigError(f"{name} must be on or off, got {given}")
        return self.spelling.off


@cache
def settings() -> tuple[Setting, ...]:
    """All settings in the order of their declaration."""
    return tuple(
        Setting(field, next(item for item in info.metadata if isinstance(item, Option)))
        for field, info in ServeSettings.model_fields.items()
    )


@cache
def flags() -> dict[str, Meaning]:
    """Every flag and what it stands for."""
    return _unique(_flags())


@cache
def variables() -> dict[str, Meaning]:
    """Every variable and what it stands for."""
    return _unique(_variables())


@cache
def keys() -> dict[str, Meaning]:
    """Every TOML key and what it stands for."""
    return _unique(_keys())


def closest(name: str, table: Mapping[str, Meaning]) -> str:
    """A hint at the setting whose name in `table` is most similar to `name`; empty without one.

    Letters in another order are the most likely mistake.
    """
    known = [other for other, meaning in table.items() if isinstance(meaning.target, Setting)]
    matches = difflib.get_close_matches(name, known)
    swapped = [match for match in matches if sorted(match) == sorted(name)]
    return "".join(hint(match) for match in [*swapped, *matches][:1])


def hint(name: str) -> str:
    """The end of an error line that points to the right name."""
    return f"; did you mean {name}?"


def by_flag_key() -> dict[str, Setting]:
    """The settings by each of their flags in snake case, to find what a wrong name may mean."""
    return {key_of(flag): one for one in settings() for flag in one.option.flags}


def _flags() -> Iterator[tuple[str, Meaning]]:
    for setting in settings():
        yield from ((flag, Meaning(setting)) for flag in setting.option.flags)
        yield from ((flag, Meaning(setting, negated=True)) for flag in setting.negative)
        for spelling in setting.option.spellings:
            yield from ((flag, Meaning(setting, spelling)) for flag in spelling.flags)
    for foreign in FOREIGN:
        yield from ((flag, Meaning(foreign)) for flag in foreign.flags)
        yield from ((flag, Meaning(foreign, negated=True)) for flag in foreign.negative)


def _variables() -> Iterator[tuple[str, Meaning]]:
    for setting in settings():
        yield setting.env, Meaning(setting)
        if setting.negative:
            yield _negative_variable(setting.env), Meaning(setting, negated=True)
        for spelling in setting.option.spellings:
            if spelling.env is not None:
                yield spelling.env, Meaning(setting, spelling)
            if spelling.env is not None and spelling.off is not None:
                yield _negative_variable(spelling.env), Meaning(setting, spelling, negated=True)
    for foreign in FOREIGN:
        if foreign.env is not None:
            yield foreign.env, Meaning(foreign)
        if foreign.env is not None and foreign.negative:
            yield _negative_variable(foreign.env), Meaning(foreign, negated=True)


def _keys() -> Iterator[tuple[str, Meaning]]:
    for setting in settings():
        if setting.field not in NO_TOML_KEY:
            yield setting.field, Meaning(setting)
        for spelling in setting.option.spellings:
            if spelling.env is not None or spelling.convert is not None:
                yield spelling.key, Meaning(setting, spelling)
    for foreign in FOREIGN:
        yield foreign.key, Meaning(foreign)


def _negative_variable(env: str) -> str:
    for prefix in ("LLAMA_ARG_", "LLAMAPACK_"):
        if env.startswith(prefix):
            return f"{prefix}NO_{env.removeprefix(prefix)}"
    raise AssertionError(f"{env} has none of the prefixes of variables")


def _unique(pairs: Iterable[tuple[str, Meaning]]) -> dict[str, Meaning]:
    table: dict[str, Meaning] = {}
    for name, meaning in pairs:
        if name in table:
            raise AssertionError(f"two settings are called {name}")
        table[name] = meaning
    return table
