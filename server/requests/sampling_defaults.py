"""The sampling parameters of a request that sets none, from the server's settings."""

from __future__ import annotations

from config import ServeSettings
from protocol.sampling import SamplingParams


def sampling_defaults(settings: ServeSettings) -> SamplingParams:
    """The parameters that `--temp` and similar flags set. The seed is 0: each request draws one."""
    return SamplingParams(
        samplers=settings.samplers,
        temperature=settings.temp,
        dynatemp_range=settings.dynatemp_range,
        dynatemp_exponent=settings.dynatemp_exp,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        top_n_sigma=settings.top_n_sigma,
        xtc_probability=settings.xtc_probability,
        xtc_threshold=settings.xtc_threshold,
        typical_p=settings.typical_p,
        repeat_last_n=settings.repeat_last_n,
        repeat_penalty=settings.repeat_penalty,
        frequency_penalty=settings.frequency_penalty,
        presence_penalty=settings.presence_penalty,
        dry_multiplier=settings.dry_multiplier,
        dry_base=settings.dry_base,
        dry_allowed_length=settings.dry_allowed_length,
        dry_penalty_last_n=settings.dry_penalty_last_n,
        dry_sequence_breakers=settings.dry_sequence_breakers,
        mirostat=settings.mirostat,
        mirostat_tau=settings.mirostat_ent,
        mirostat_eta=settings.mirostat_lr,
        adaptive_target=settings.adaptive_target,
        adaptive_decay=settings.adaptive_decay,
        logit_bias=settings.logit_bias,
        backend_sampling=settings.backend_sampling,
    )
