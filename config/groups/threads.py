"""Where the engine's threads run, and how they wait."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config import coerce
from config.groups.field_types import SettingsGroup, Whole
from config.option import Group, Option

CpuMask = Annotated[tuple[int, ...], BeforeValidator(coerce.to_masked_cpus)]
CpuRange = Annotated[tuple[int, ...], BeforeValidator(coerce.to_ranged_cpus)]
Strict = Annotated[Whole, Field(ge=0, le=1)]
StrictOrSame = Annotated[Whole, Field(ge=-1, le=1)]


def _mask(flags: str, key: str, text: str, group: Group, default: str) -> Option:
    return Option(
        tuple(flags.split()),
        group,
        text,
        env=f"LLAMAPACK_{key}",
        metavar="HEX",
        default_text=default,
        repeatable=True,
    )


def _range(flags: str, key: str, text: str, group: Group, default: str) -> Option:
    return Option(
        tuple(flags.split()),
        group,
        text,
        env=f"LLAMAPACK_{key}",
        metavar="LO-HI",
        default_text=default,
        repeatable=True,
    )


def _strict(flags: str, key: str, text: str, group: Group) -> Option:
    return Option(tuple(flags.split()), group, text, env=f"LLAMAPACK_{key}", metavar="0|1")


class ThreadSettings(SettingsGroup):
    """Where the engine's threads run, and how they wait."""

    cpu_mask: Annotated[
        CpuMask,
        _mask(
            "-C --cpu-mask",
            "CPU_MASK",
            "CPUs for decoding, as a hexadecimal mask",
            Group.DEVICE,
            "any",
        ),
    ] = ()
    cpu_range: Annotated[
        CpuRange,
        _range(
            "-Cr --cpu-range",
            "CPU_RANGE",
            "CPUs for decoding, as a range; they add to --cpu-mask",
            Group.DEVICE,
            "any",
        ),
    ] = ()
    cpu_strict: Annotated[
        Strict,
        _strict(
            "--cpu-strict",
            "CPU_STRICT",
            "1 gives each thread one of the CPUs, 0 lets it run on all of them",
            Group.DEVICE,
        ),
    ] = 0
    cpu_mask_batch: Annotated[
        CpuMask,
        _mask(
            "-Cb --cpu-mask-batch",
            "CPU_MASK_BATCH",
            "CPUs for prefill, as a hexadecimal mask",
            Group.DEVICE,
            "as --cpu-mask",
        ),
    ] = ()
    cpu_range_batch: Annotated[
        CpuRange,
        _range(
            "-Crb --cpu-range-batch",
            "CPU_RANGE_BATCH",
            "CPUs for prefill, as a range; they add to --cpu-mask-batch",
            Group.DEVICE,
            "as --cpu-range",
        ),
    ] = ()
    cpu_strict_batch: Annotated[
        StrictOrSame,
        _strict(
            "--cpu-strict-batch",
            "CPU_STRICT_BATCH",
            "the same as --cpu-strict, for prefill; -1 takes --cpu-strict",
            Group.DEVICE,
        ),
    ] = -1
    prio: Annotated[
        Whole,
        Field(ge=-1, le=3),
        Option(
            ("--prio",),
            Group.DEVICE,
            "priority of the engine process: -1 low, 0 normal, 1 medium, 2 high, 3 highest (nice "
            "5, 0, -5, -10 and -20); above 0 it needs the right to raise priorities",
            env="LLAMAPACK_PRIO",
            metavar="N",
        ),
    ] = 0
    poll: Annotated[
        Whole,
        Field(ge=0, le=100),
        Option(
            ("--poll",),
            Group.DEVICE,
            "how long threads spin before they sleep: 0 not at all, 100 longest; "
            "GOMP_SPINCOUNT wins where it is set",
            env="LLAMAPACK_POLL",
            metavar="N",
        ),
    ] = 50
    sampling_threads: Annotated[
        Whole,
        Field(ge=0, le=64),
        Option(
            ("--sampling-threads",),
            Group.DEVICE,
            "threads that sample the tokens of several answers at the same time; 0 takes one for "
            "each core that the model does not compute with, at most 8",
            env="LLAMAPACK_SAMPLING_THREADS",
            metavar="N",
        ),
    ] = 0
    numa: Annotated[
        Literal["distribute", "isolate", "numactl"] | None,
        Option(
            ("--numa",),
            Group.DEVICE,
            "how threads use a machine with several memory nodes: spread over all, only on "
            "the node of the start, or as numactl says",
            metavar="TYPE",
            default_text="none",
        ),
    ] = None
    spec_draft_cpu_mask: Annotated[
        CpuMask,
        _mask(
            "-Cd --cpu-mask-draft --spec-draft-cpu-mask",
            "SPEC_DRAFT_CPU_MASK",
            "CPUs for the draft model, as a hexadecimal mask",
            Group.SPECULATION,
            "as --cpu-mask",
        ),
    ] = ()
    spec_draft_cpu_range: Annotated[
        CpuRange,
        _range(
            "-Crd --cpu-range-draft --spec-draft-cpu-range",
            "SPEC_DRAFT_CPU_RANGE",
            "CPUs for the draft model, as a range; they add to --spec-draft-cpu-mask",
            Group.SPECULATION,
            "as --cpu-range",
        ),
    ] = ()
    spec_draft_cpu_strict: Annotated[
        StrictOrSame,
        _strict(
            "--cpu-strict-draft --spec-draft-cpu-strict",
            "SPEC_DRAFT_CPU_STRICT",
            "the same as --cpu-strict, for the draft model; -1 takes --cpu-strict",
            Group.SPECULATION,
        ),
    ] = -1
    spec_draft_cpu_mask_batch: Annotated[
        CpuMask,
        _mask(
            "-Cbd --cpu-mask-batch-draft --spec-draft-cpu-mask-batch",
            "SPEC_DRAFT_CPU_MASK_BATCH",
            "CPUs for the draft model's prefill, as a hexadecimal mask",
            Group.SPECULATION,
            "as --spec-draft-cpu-mask",
        ),
    ] = ()
    spec_draft_cpu_strict_batch: Annotated[
        StrictOrSame,
        _strict(
            "--cpu-strict-batch-draft --spec-draft-cpu-strict-batch",
            "SPEC_DRAFT_CPU_STRICT_BATCH",
            "the same for the draft model's prefill; -1 takes --spec-draft-cpu-strict",
            Group.SPECULATION,
        ),
    ] = -1
