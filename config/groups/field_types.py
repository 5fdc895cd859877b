"""Types that several fields of the settings share."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from config import coerce


class SettingsGroup(BaseModel):
    """Base of the groups. It refuses unknown fields, and its values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Switch = Annotated[bool, BeforeValidator(coerce.to_switch)]
OnOffAuto = Annotated[Literal["auto", "on", "off"], BeforeValidator(coerce.to_on_off_auto)]
OnOff = Annotated[Literal["on", "off"], BeforeValidator(coerce.to_on_off)]
Whole = Annotated[int, BeforeValidator(coerce.not_a_switch)]
Number = Annotated[float, BeforeValidator(coerce.not_a_switch)]
Words = Annotated[tuple[str, ...], BeforeValidator(coerce.to_list)]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
