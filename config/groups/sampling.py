"""Sampling parameters of requests that name none."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import FilePath, Number, SettingsGroup, Switch, Whole
from config.option import Group, Option, Spelling
from config.samplers import DEFAULT_ORDER, NAMES, names_from_codes, to_samplers


class SamplingSettings(SettingsGroup):
    """Sampling of requests that name no parameters of their own."""

    samplers: Annotated[
        tuple[str, ...],
        BeforeValidator(to_samplers),
        Option(
            ("--samplers",),
            Group.SAMPLING,
            f"samplers in the order in which they run, separated by ; (out of {', '.join(NAMES)})",
            metavar="NAMES",
            default_text="the first nine",
            spellings=(
                Spelling(
                    ("--sampler-seq", "--sampling-seq"),
                    "samplers as one letter each, such as edskypmxt",
                    "LLAMA_ARG_SAMPLER_SEQ",
                    convert=names_from_codes,
                    metavar="LETTERS",
                ),
            ),
        ),
    ] = DEFAULT_ORDER
    backend_sampling: Annotated[
        Switch,
        Option(
            ("-bs", "--backend-sampling"),
            Group.SAMPLING,
            "let the model's device find the likeliest tokens, for requests where that gives the "
            "same answer",
        ),
    ] = False
    seed: Annotated[
        Whole,
        Field(ge=-1, le=2**32 - 1),
        Option(
            ("-s", "--seed"),
            Group.SAMPLING,
            "seed of the random numbers; -1 draws one for each request",
            metavar="N",
        ),
    ] = -1
    temp: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--temp", "--temperature"),
            Group.SAMPLING,
            "temperature; 0 always takes the most likely token",
            env="LLAMA_ARG_TEMPERATURE",
            metavar="X",
        ),
    ] = 0.8
    top_k: Annotated[
        Whole,
        Option(
            ("--top-k",), Group.SAMPLING, "keep the K most likely tokens; 0 keeps all", metavar="K"
        ),
    ] = 40
    top_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--top-p",),
            Group.SAMPLING,
            "keep the most likely tokens that add up to this probability; 1 keeps all",
            metavar="P",
        ),
    ] = 0.95
    min_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--min-p",),
            Group.SAMPLING,
            "drop tokens below this share of the most likely token's probability; 0 drops none",
            metavar="P",
        ),
    ] = 0.05
    top_n_sigma: Annotated[
        Number,
        Option(
            ("--top-nsigma", "--top-n-sigma"),
            Group.SAMPLING,
            "keep tokens within this many standard deviations of the best logit; -1 is off",
            metavar="X",
        ),
    ] = -1.0
    xtc_probability: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--xtc-probability",),
            Group.SAMPLING,
            "chance that XTC removes the top choices; 0 is off",
            metavar="P",
        ),
    ] = 0.0
    xtc_threshold: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--xtc-threshold",),
            Group.SAMPLING,
            "probability from which XTC counts a token as a top choice; above 0.5 is off",
            metavar="P",
        ),
    ] = 0.1
    typical_p: Annotated[
        Number,
        Field(ge=0, le=1),
        Option(
            ("--typical", "--typical-p"),
            Group.SAMPLING,
            "probability mass of locally typical sampling; 1 is off",
            metavar="P",
        ),
    ] = 1.0
    repeat_last_n: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--repeat-last-n",),
            Group.SAMPLING,
            "number of last tokens to which the penalties apply; 0 is off",
            metavar="N",
        ),
    ] = 64
    repeat_penalty: Annotated[
        Number,
        Field(gt=0),
        Option(
            ("--repeat-penalty",),
            Group.SAMPLING,
            "divides the logits of tokens that occurred before; 1 is off",
            metavar="X",
        ),
    ] = 1.0
    presence_penalty: Annotated[
        Number,
        Option(
            ("--presence-penalty",),
            Group.SAMPLING,
            "subtracted once from the logits of tokens that occurred before; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    frequency_penalty: Annotated[
        Number,
        Option(
            ("--frequency-penalty",),
            Group.SAMPLING,
            "subtracted from a token's logit for each time that it occurred; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dry_multiplier: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--dry-multiplier",),
            Group.SAMPLING,
            "strength of DRY, which punishes repeated passages; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dry_base: Annotated[
        Number,
        Field(ge=1),
        Option(
            ("--dry-base",),
            Group.SAMPLING,
            "how fast DRY's penalty grows with the passage's length",
            metavar="X",
        ),
    ] = 1.75
    dry_allowed_length: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--dry-allowed-length",),
            Group.SAMPLING,
            "longest repeated passage, in tokens, that DRY does not punish",
            metavar="N",
        ),
    ] = 2
    dry_penalty_last_n: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--dry-penalty-last-n",),
            Group.SAMPLING,
            "number of last tokens in which DRY looks for repetitions; 0 is off",
            metavar="N",
        ),
    ] = 64
    dry_sequence_breakers: Annotated[
        tuple[str, ...],
        BeforeValidator(coerce.to_sequence_breakers),
        Option(
            ("--dry-sequence-breaker", "--dry-sequence-breakers"),
            Group.SAMPLING,
            "text that ends a passage for DRY, instead of the default texts; none removes all",
            metavar="TEXT",
            default_text="newline, colon, double quote, asterisk",
            repeatable=True,
        ),
    ] = ("\n", ":", '"', "*")
    adaptive_target: Annotated[
        Number,
        Field(le=1),
        Option(
            ("--adaptive-target",),
            Group.SAMPLING,
            "adaptive-p: probability to aim at; negative is off",
            metavar="P",
        ),
    ] = -1.0
    adaptive_decay: Annotated[
        Number,
        Field(ge=0, le=0.99),
        Option(
            ("--adaptive-decay",),
            Group.SAMPLING,
            "adaptive-p: how slowly its target moves",
            metavar="X",
        ),
    ] = 0.9
    dynatemp_range: Annotated[
        Number,
        Field(ge=0),
        Option(
            ("--dynatemp-range",),
            Group.SAMPLING,
            "how far the temperature may move with the entropy; 0 is off",
            metavar="X",
        ),
    ] = 0.0
    dynatemp_exp: Annotated[
        Number,
        Option(
            ("--dynatemp-exp",),
            Group.SAMPLING,
            "exponent that maps the entropy to the temperature",
            metavar="X",
        ),
    ] = 1.0
    mirostat: Annotated[
        Whole,
        Field(ge=0, le=2),
        Option(
            ("--mirostat",),
            Group.SAMPLING,
            "Mirostat version, in place of all other samplers but temperature; 0 is off",
            metavar="N",
        ),
    ] = 0
    mirostat_lr: Annotated[
        Number,
        Option(("--mirostat-lr",), Group.SAMPLING, "Mirostat's learning rate (eta)", metavar="X"),
    ] = 0.1
    mirostat_ent: Annotated[
        Number,
        Option(("--mirostat-ent",), Group.SAMPLING, "Mirostat's target entropy (tau)", metavar="X"),
    ] = 5.0
    ignore_eos: Annotated[
        Switch,
        Option(("--ignore-eos",), Group.SAMPLING, "never let the model end its answer"),
    ] = False
    reverse_prompt: Annotated[
        tuple[str, ...],
        BeforeValidator(coerce.to_texts),
        Option(
            ("-r", "--reverse-prompt"),
            Group.SAMPLING,
            "text at which an answer stops, for a request without stop",
            env="LLAMAPACK_REVERSE_PROMPT",
            metavar="TEXT",
            default_text="none",
            repeatable=True,
        ),
    ] = ()
    escape: Annotated[
        Switch,
        Option(
            ("-e", "--escape"),
            Group.SAMPLING,
            r"read escapes such as \n in --reverse-prompt and --dry-sequence-breaker",
            env="LLAMAPACK_ESCAPE",
        ),
    ] = True
    special: Annotated[
        Switch,
        Option(
            ("-sp", "--special"),
            Group.SAMPLING,
            "show control tokens that the model generates, except those that end an answer",
            env="LLAMAPACK_SPECIAL",
        ),
    ] = False
    spm_infill: Annotated[
        Switch,
        Option(
            ("--spm-infill",),
            Group.SAMPLING,
            "fill in the middle in the order suffix, prefix, middle, as some models were trained",
            env="LLAMAPACK_SPM_INFILL",
        ),
    ] = False
    logit_bias: Annotated[
        tuple[tuple[int, Annotated[float, Field(allow_inf_nan=True)]], ...],
        BeforeValidator(coerce.to_logit_bias),
        Option(
            ("-l", "--logit-bias"),
            Group.SAMPLING,
            "number added to the logit of a token id, such as 15043+1 or 15043-inf",
            metavar="ID(+|-)X",
            repeatable=True,
        ),
    ] = ()
    grammar: Annotated[
        str | None,
        Option(("--grammar",), Group.SAMPLING, "GBNF that every answer follows", metavar="GBNF"),
    ] = None
    grammar_file: Annotated[
        FilePath | None,
        Option(
            ("--grammar-file",),
            Group.SAMPLING,
            "file with the GBNF that every answer follows",
            metavar="FILE",
        ),
    ] = None
    json_schema: Annotated[
        dict[str, object] | None,
        BeforeValidator(coerce.to_json_object),
        Option(
            ("-j", "--json-schema"),
            Group.SAMPLING,
            "JSON Schema that every answer follows",
            metavar="JSON",
        ),
    ] = None
    json_schema_file: Annotated[
        FilePath | None,
        Option(
            ("-jf", "--json-schema-file"),
            Group.SAMPLING,
            "file with the JSON Schema that every answer follows",
            metavar="FILE",
        ),
    ] = None
