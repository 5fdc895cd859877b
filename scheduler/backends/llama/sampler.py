"""The sampler of one sequence: llama.cpp's samplers in llama-server's order, and a constraint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from llama_cpp import llama_cpp as lib

from protocol.commands import AddRequest
from protocol.events import TokenLogprobs
from protocol.sampling import SamplingParams
from scheduler.backends.base import SamplerError, TooComplex
from scheduler.backends.llama.candidates import (
    FEW,
    READABLE,
    Candidates,
    Ids,
    Logits,
    Mask,
)
from scheduler.backends.llama.dry import DrySamplers
from scheduler.backends.llama.reach import ALL, has_penalties, is_argmax, reach_of, window
from scheduler.backends.llama.shortlist import SPARE, Shortlist, best_of, pays, shortlist
from scheduler.constraint import ConstraintFailed, ConstraintTooComplex, Matcher
from scheduler.constraint.thinking_matcher import ThinkingMatcher
from scheduler.core.results import Sample
from scheduler.core.sampler import HELD
from scheduler.native.library import sampler_accept, sampler_sample

MIROSTAT_ESTIMATE_TOKENS = 100
"""Best tokens from which mirostat 1 estimates its exponent (`m` in the paper)."""


FEW_BIASES = 16
"""Up to so many biases are added one by one, which takes less than a pass by numpy."""


@dataclass(frozen=True, slots=True)
class Biases:
    """What is added to the logits of some tokens before anything else.

    llama.cpp's own sampler looks for each biased token among all candidates once a mask has left
    some out. With many biases that takes a second for every token.
    """

    tokens: np.ndarray[Any, np.dtype[np.intp]]
    """No token occurs twice."""
    values: Logits

    @classmethod
    def of(cls, params: SamplingParams, vocabulary: Vocabulary) -> Biases:
        """The biases of a request, and those of tokens that must not be sampled. Several biases of
        one token add up. Raises `SamplerError`."""
        pairs = [*params.logit_bias, *((token, -np.inf) for token in vocabulary.suppressed)]
        if not pairs:
            return NO_BIASES
        given = np.fromiter((token for token, _ in pairs), np.intp, len(pairs))
        values = np.fromiter((bias for _, bias in pairs), np.float64, len(pairs))
        tokens, places = np.unique(given, return_inverse=True)
        if len(tokens) and not 0 <= tokens[0] <= tokens[-1] < vocabulary.n_vocab:
            raise SamplerError("a biased token is outside the vocabulary")
        sums = np.zeros(len(tokens))
        np.add.at(sums, places, values)
        return cls(tokens, sums.astype(np.float32))

    @property
    def few(self) -> tuple[tuple[int, float], ...] | None:
        """Tokens with their biases, if these are few."""
        if len(self.tokens) > FEW_BIASES:
            return None
        return tuple(zip(self.tokens.tolist(), self.values.tolist(), strict=True))

    def add_to(self, logits: Logits) -> None:
        """Add the biases to a row, shape (n_vocab,)."""
        if self:
            logits[self.tokens] += self.values

    def add_to_few(self, tokens: Shortlist) -> Shortlist:
        """Some tokens, which rise, with the biases."""
        if not self:
            return tokens
        logits = tokens.logits.copy()
        places = np.searchsorted(self.tokens, tokens.ids)
        places[places == len(self.tokens)] = 0
        hits = self.tokens[places] == tokens.ids
        logits[hits] += self.values[places[hits]]
        return Shortlist(tokens.ids, logits)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return len(self.tokens) > 0

    def sum_with(self, logits: Logits) -> Logits:
        """The row with the biases. The row itself, which may be asked for again, stays as it is."""
        if not self:
            return logits
        total = logits.copy()
        self.add_to(total)
        return total


NO_BIASES = Biases(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))


class LogitsRows(Protocol):
    """The logits of the last batch."""

    @property
    def context(self) -> int:
        """Address of the llama.cpp context that computed them."""
        ...

    def row(self, index: int) -> Logits:
        """A writable view of one row, valid until the next batch."""
        ...

    def add(self, index: int, biases: tuple[tuple[int, float], ...]) -> None:
        """Add to the logits of a few tokens of a row."""
        ...

    def batch_index(self, index: int) -> int:
        """Index in the batch of the token that the row belongs to."""
        ...

    def likeliest(self, index: int) -> Shortlist | None:
        """The likeliest tokens of a row, at least as many as its sampler asked for, if the row was
        surveyed and has not been changed."""
        ...

    def is_left(self, index: int) -> bool:
        """Whether a sampler on the device left only some tokens of a row."""
        ...

    def left(self, index: int) -> Shortlist:
        """What a sampler on the device left of a row; tokens rise. Such a row has no other
        logits."""
        ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What samplers need to know of the model."""

    pointer: int
    """Address of the `llama_vocab`."""
    n_vocab: int
    n_ctx: int
    """Tokens of a slot; a penalty window of -1 means this many."""
    suppressed: tuple[int, ...]
    """Tokens that must never be sampled, by the author of the model."""
    dry: DrySamplers
    has_threads: bool = False
    """Whether several threads sample, so that they may look for shortlists together."""


class LlamaSampler:
    """Samples one sequence's tokens with a chain of llama.cpp samplers and a constraint."""

    def __init__(
        self,
        request: AddRequest,
        rows: LogitsRows,
        vocabulary: Vocabulary,
        candidates: Candidates,
        matcher: Matcher | None,
    ) -> None:
        self._params = request.spec.sampling
        self._rows = rows
        self._candidates = candidates
        self._matcher = matcher
        self._held: Logits | None = None
        self._failure: ConstraintFailed | None = None
        """Why there is no mask."""
        self._chain: int | None = None
        self._is_greedy = is_argmax(self._params)
        self._biases = Biases.of(self._params, vocabulary)
        self._is_quick = vocabulary.n_vocab <= FEW
        """Whether a pass over all tokens takes less than giving away the interpreter's lock."""
        self._full_reach = reach_of(self._params, vocabulary.n_ctx)
        self._reach = self._full_reach if pays(self._full_reach, vocabulary.n_vocab) else ALL
        """Length of the shortlist that the chain needs; `ALL` runs it on the whole row."""
        self._num_resumed = len(request.resumed)
        self._thinking_ended_at = request.thinking_ended_at
        self._unread = [] if matcher is None else request.resumed[::-1]
        """Tokens of a resumed answer that the constraint has not read; the last one comes first."""
        self._end_thinking_again()
        if not self._is_greedy:
            self._chain = build_chain(self._params, vocabulary)
            self._remember([*request.spec.prompt, *request.resumed], vocabulary)
            if matcher is None:
                self._skip_draws(len(request.resumed))
        begins_with_top_k = self._reach == self._params.top_k > 0
        self._can_read = self._is_quick or (begins_with_top_k and vocabulary.n_vocab <= READABLE)
        """Whether llama.cpp's chain should read a row that nobody has surveyed."""
        self._few_biases = self._biases.few
        self._reads_rows = self._can_read and self._is_plain
        """Whether a sample is what the chain makes of a row with few biases."""
        self.is_heavy = not self._is_quick and self._reads_all
        self.num_candidates = self._num_surveyed(has_threads=vocabulary.has_threads)

    @property
    def is_constrained(self) -> bool:
        """Whether there is a matcher."""
        return self._matcher is not None

    @property
    def _reads_all(self) -> bool:
        """Whether a sample takes more than a look at the largest logits."""
        wants_all = self._params.top_logprobs >= 0 and not self._params.post_sampling_probs
        return wants_all or (self._chain is not None and not self._reach)

    @property
    def _changes_rows(self) -> bool:
        """Whether rows are not as the model has left them when a token is chosen."""
        return bool(self._biases) or self._matcher is not None

    @property
    def _is_plain(self) -> bool:
        """Whether a sample takes no more than few biases and a chain."""
        if self._is_greedy or self._matcher is not None or self._few_biases is None:
            return False
        return self._params.top_logprobs < 0

    @property
    def _num_wanted(self) -> int:
        return 1 if self._is_greedy else self._reach

    @property
    def is_replaying(self) -> bool:
        """Whether the constraint has not read all of a resumed answer."""
        return bool(self._unread)

    def _num_surveyed(self, *, has_threads: bool) -> int:
        """How many candidates of a row to look for together with other rows; 0 for none."""
        reads = self._can_read and not (self._is_greedy or has_threads)
        if self._is_quick or self._changes_rows or reads:
            return 0
        return self._num_wanted

    @property
    def wants_mask(self) -> bool:
        """Whether a mask is needed that is not there.

        The likeliest token is allowed most of the time, and checking it costs less than a mask.
        So greedy sampling asks for its mask in `sample`, after a refusal.
        """
        return self._lacks_mask and not (self._is_greedy or self._unread)

    @property
    def _lacks_mask(self) -> bool:
        matcher = self._matcher
        return matcher is not None and matcher.refused is None and not matcher.is_prepared

    def prepare(self) -> None:
        """Compute the constraint's mask for the next token. May run while a batch is computed."""
        try:
            if self._matcher is not None:
                self._matcher.prepare()
        except ConstraintFailed as error:  # `sample` will raise it
            self._failure = error

    def replay(self) -> None:
        """Let the constraint read the next token of a resumed answer, and those that it forces.

        Raises `SamplerError`.
        """
        assert self._matcher is not None
        try:
            self._matcher.accept(self._unread.pop())
            forced = self._matcher.forced_tokens() if self._params.top_logprobs < 0 else []
            for token in forced[: len(self._unread)]:
                self._matcher.accept(token)
                self._unread.pop()
        except ConstraintTooComplex as error:
            raise TooComplex(str(error)) from error
        except ConstraintFailed as error:
            raise SamplerError(f"the answer so far breaks its constraint: {error}") from error
        self._end_thinking_again()
        if self._chain is not None:
            self._skip_draws(1)  # forced tokens were not drawn

    def _end_thinking_again(self) -> None:
        """End the thinking after as many tokens as when the resumed answer was made."""
        ended_at = self._thinking_ended_at
        num_read = self._num_resumed - len(self._unread)
        if ended_at is None or num_read > ended_at:
            return
        if num_read == ended_at or not self._unread:
            self._end_thinking_now()

    def hold(self, row: int) -> None:
        """Keep a copy of a row of the last batch."""
        self._held = self._rows.row(row).copy()

    def sample(self, row: int) -> Sample | None:
        """Sample a token from a row of the last batch, or the held one, and accept it.

        Returns None if the mask has to be computed first. Raises `SamplerError`.
        """
        if self._reads_rows and self._is_untouched(row):
            if self._few_biases:
                self._rows.add(row, self._few_biases)
            return Sample(self._read(row))
        try:
            if self._failure is not None:
                raise self._failure
            sample = None if self.wants_mask else self._sample(row)
        except ConstraintTooComplex as error:
            raise TooComplex(str(error)) from error
        except ConstraintFailed as error:
            raise SamplerError(str(error)) from error
        if sample is not None:
            self._held = None
        return sample

    def _sample(self, row: int) -> Sample | None:
        n_top = self._params.top_logprobs
        if n_top < 0:
            token = self._pick(row)
            return None if token is None else Sample(token, forced=self._forced())
        if self._params.post_sampling_probs:
            token = self._pick(row)
            assert token is not None
            return Sample(token, _left_logprobs(self._candidates, token, n_top))
        logits = self._logits(row)
        before = self._distribution(logits.copy() if self._biases else logits, row)
        token = self._pick(row)
        return None if token is None else Sample(token, before.logprobs(token))

    def _logits(self, row: int) -> Logits:
        if row != HELD:
            return self._rows.row(row)
        assert self._held is not None
        return self._held

    def score(self, row: int, token: int) -> TokenLogprobs:
        """The model's own log-probability of `token` in a row of the last batch."""
        return self._distribution(self._rows.row(row), row).logprobs(token)

    def _distribution(self, logits: Logits, row: int) -> _Distribution:
        n_top = max(self._params.top_logprobs, 0)
        best = self._found(row)
        if best is None or len(best.ids) < n_top:
            best = shortlist(logits, n_top) if pays(n_top, len(logits)) else None
        return _Distribution.of(logits, n_top, best)

    def allowed(self, tokens: list[int]) -> int:
        """How many of these tokens the constraint lets come next, one after the other."""
        return len(tokens) if self._matcher is None else self._matcher.validate_draft(tokens)

    def fork(self, rows: LogitsRows) -> LlamaSampler:
        """A sampler in the same state, random numbers included, for another model's rows.

        The copy reports no probabilities. Its tokens are better drafts than the likeliest tokens:
        if both models' distributions are alike, the same random number picks the same token.
        """
        copy = object.__new__(LlamaSampler)
        copy._params = msgspec.structs.replace(
            self._params, top_logprobs=-1, post_sampling_probs=False
        )
        copy._rows = rows
        copy._held = copy._failure = None
        copy._unread = []
        copy._candidates = self._candidates
        copy._matcher = None if self._matcher is None else self._matcher.clone()
        copy._is_greedy = self._is_greedy
        copy._biases, copy._few_biases = self._biases, self._few_biases
        copy._is_quick, copy._can_read = self._is_quick, self._can_read
        copy._reads_rows = copy._can_read and copy._is_plain
        copy.is_heavy, copy.num_candidates = False, 0
        copy._full_reach, copy._reach = self._full_reach, self._reach
        copy._chain = None if self._chain is None else lib.llama_sampler_clone(self._chain)
        return copy

    def end_thinking(self) -> int | None:
        """Let the next tokens end the thinking; see `Sampler`."""
        if not self._unread:
            return self._end_thinking_now()
        if not isinstance(self._matcher, ThinkingMatcher):
            return None
        # Whether the answer thinks at its end isn't known yet. If so, the thinking ends there.
        self._thinking_ended_at = self._num_resumed
        return self._num_resumed

    def _end_thinking_now(self) -> int | None:
        matcher = self._matcher
        return matcher.end_thinking() if isinstance(matcher, ThinkingMatcher) else None

    def close(self) -> None:
        """Free the chain."""
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None

    def _pick(self, row: int) -> int | None:
        if row != HELD and self._rows.is_left(row):
            return self._pick_of_few(self._rows.left(row))
        if self._chain is None:
            return self._pick_largest(row)
        logits = self._logits(row)
        self._biases.add_to(logits)
        if self._matcher is None:
            return self._pick_by_chain(row, logits)
        refused = self._matcher.refused
        if refused is None:
            token = self._pick_among(logits, self._matcher.mask())
        else:
            logits[list(refused)] = -np.inf
            token = self._pick_by_chain(row, logits)
        self._matcher.accept(token)
        return token

    def _pick_of_few(self, tokens: Shortlist) -> int:
        """Choose from all tokens that the choice depends on. There is no constraint."""
        tokens = self._biases.add_to_few(tokens)
        if self._chain is None:
            return int(tokens.ids[tokens.logits.argmax()])
        if self._full_reach == ALL:  # llama.cpp ends the process over an empty list
            raise SamplerError("the model's device was asked for too few tokens")
        return self._choose(best_of(tokens, self._full_reach), tokens.logits)

    def _pick_by_chain(self, row: int, logits: Logits) -> int:
        """Run the chain over a row, whose biases are added."""
        assert self._chain is not None
        found = self._found(row) if self._reach else None
        if found is None and self._may_read(row):
            return self._read(row)
        if found is not None:
            found = found.head(self._reach)
        elif self._reach:
            found = shortlist(logits, self._reach)
        return self._choose(found, logits)

    def _is_untouched(self, row: int) -> bool:
        """Whether neither a survey nor a sampler on the device has looked at a row."""
        return not self._rows.is_left(row) and self._found(row) is None

    def _read(self, row: int) -> int:
        """Let llama.cpp run the chain over a row, whose biases are added, and accept the token."""
        return int(sampler_sample(self._chain, self._rows.context, self._rows.batch_index(row)))

    def _may_read(self, row: int) -> bool:
        """Whether llama.cpp should read the row itself, which keeps other threads waiting."""
        return self._can_read and row != HELD and not self._params.post_sampling_probs

    def _found(self, row: int) -> Shortlist | None:
        """The likeliest tokens of a row, if a survey has found them."""
        return self._rows.likeliest(row) if self.num_candidates and row != HELD else None

    def _pick_among(self, logits: Logits, allowed: Mask) -> int:
        """Mask first, then sample.

        Samplers that truncate must only see allowed tokens. Otherwise the answer's distribution
        is not that of the constrained model.
        """
        ids = np.flatnonzero(allowed)
        found = None
        if 0 < self._reach * SPARE < len(ids):
            masked = np.where(allowed, logits, np.float32(-np.inf))
            found = shortlist(masked, self._reach)
        return self._choose(found, logits, ids)

    def _choose(self, found: Shortlist | None, logits: Logits, allowed: Ids | None = None) -> int:
        """Run the chain over a shortlist, or over the allowed tokens of a row, or over all."""
        assert self._chain is not None
        if found is not None:
            token = self._candidates.choose_sorted(self._chain, *found)
        elif allowed is not None:
            token = self._candidates.choose_among(self._chain, logits, allowed)
        else:
            token = self._candidates.choose(self._chain, logits)
        sampler_accept(self._chain, token)
        return token

    def _pick_largest(self, row: int) -> int | None:
        """The token with the largest logit among the allowed ones; None if a mask is needed."""
        logits = self._biases.sum_with(self._logits(row))
        found = self._found(row)
        token = int(logits.argmax() if found is None else found.ids[0])
        if self._matcher is not None:
            if self._matcher.is_prepared or not self._matcher.allows(token):
                if self._lacks_mask:
                    return None
                self._matcher.apply_mask(logits)
                token = int(logits.argmax())
            self._matcher.accept(token)
        return token

    def _forced(self) -> tuple[int, ...]:
        """The tokens that the constraint forces next. They are accepted here."""
        if self._matcher is None:
            return ()
        forced = tuple(self._matcher.forced_tokens())
        for token in forced:
            self._matcher.accept(token)
            if self._chain is not None:
                sampler_accept(self._chain, token)
        return forced

    def _remember(self, tokens: list[int], vocabulary: Vocabulary) -> None:
        """Let the penalties see earlier tokens, as many as their windows hold."""
        params = self._params
        windows = [0]
        if has_penalties(params):
            windows.append(window(params.repeat_last_n, vocabulary.n_ctx))
        if params.dry_multiplier != 0.0:
            windows.append(window(params.dry_penalty_last_n, vocabulary.n_ctx))
        for token in tokens[len(tokens) - min(max(windows), len(tokens)) :]:
            sampler_accept(self._chain, token)

    def _skip_draws(self, count: int) -> None:
        """Use up `count` random numbers, as the sampler of the engine before this one did.

        The chain's last sampler draws one number for each token. So a resumed answer goes on as
        it would have. There are exceptions: XTC has random numbers of its own. Mirostat and
        adaptive-p steer by probabilities that are not known any more. With these samplers a
        resumed answer differs, but it is as likely.
        """
        if not self._params.mirostat and "adaptive_p" not in self._params.samplers:
            last = lib.llama_sampler_chain_n(self._chain) - 1
            self._candidates.draw(lib.llama_sampler_chain_get(self._chain, last), count)


@dataclass(frozen=True, slots=True)
class _Distribution:
    """A row's probabilities, before biases or a mask change the row."""

    logits: Logits
    log_total: float
    top: list[tuple[int, float]]

    @classmethod
    def of(cls, logits: Logits, n_top: int, best: Shortlist | None) -> _Distribution:
        """`best` are the likeliest tokens, at least `n_top`, if they are known."""
        peak = logits.max()
        log_total = float(peak) + math.log(np.exp(logits - peak).sum())
        if best is None:
            n_top = min(n_top, len(logits))
            ids = np.argpartition(logits, -n_top)[-n_top:] if n_top else np.arange(0)
            ids.sort()
            best = best_of(Shortlist(ids, logits[ids]), n_top)
        best = best.head(n_top)
        logs = best.logits.astype(np.float64) - log_total
        return cls(logits, log_total, list(zip(best.ids.tolist(), logs.tolist(), strict=True)))

    def logprobs(self, token: int) -> TokenLogprobs:
        return TokenLogprobs(float(self.logits[token]) - self.log_total, self.top)


def _left_logprobs(candidates: Candidates, token: int, n_top: int) -> TokenLogprobs:
    """After sampling. Some samplers drop a token, others make it impossible: neither is told."""
    left = candidates.remaining()
    with np.errstate(divide="ignore"):  # the log of 0 is minus infinity
        logs = np.log(left["p"])
    order = np.argsort(-logs, kind="stable")[:n_top]
    top = [(int(left["id"][i]), float(logs[i])) for i in order if left["p"][i] > 0]
    own = logs[left["id"] == token]
    return TokenLogprobs(float(own[0]) if len(own) else float("-inf"), top)


def build_chain(params: SamplingParams, vocabulary: Vocabulary) -> int:
    """Make the chain that llama-server makes from the same parameters.

    Returns its address. Raises `SamplerError` if llama.cpp refuses a parameter.
    """
    chain: int = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    try:
        for make in _makers(params, vocabulary):
            sampler = make()
            if not sampler:
                raise SamplerError("llama.cpp refused the sampling parameters")
            lib.llama_sampler_chain_add(chain, sampler)
    except BaseException:
        lib.llama_sampler_free(chain)
        raise
    return chain


def _makers(params: SamplingParams, vocabulary: Vocabulary) -> list[Callable[[], Any]]:
    """Constructors of the chain's samplers, in order."""
    makers: list[Callable[[], Any]] = []
    if params.mirostat:
        makers.append(lambda: lib.llama_sampler_init_temp(params.temperature))
        makers.append(lambda: _mirostat(params, vocabulary))
        return makers
    named = _named_makers(params, vocabulary)
    makers += [named[name] for name in params.samplers if name != "adaptive_p"]
    if "adaptive_p" in params.samplers:  # it selects a token itself, so it takes the last place
        makers.append(named["adaptive_p"])
    else:
        makers.append(lambda: lib.llama_sampler_init_dist(params.seed))
    return makers


def _named_makers(p: SamplingParams, vocabulary: Vocabulary) -> dict[str, Callable[[], Any]]:
    return {
        "penalties": lambda: lib.llama_sampler_init_penalties(
            vocabulary.n_vocab,
            window(p.repeat_last_n, vocabulary.n_ctx),
            p.repeat_penalty,
            p.frequency_penalty,
            p.presence_penalty,
        ),
        "dry": lambda: vocabulary.dry.copy(p),
        "top_n_sigma": lambda: lib.llama_sampler_init_top_n_sigma(p.top_n_sigma),
        "top_k": lambda: lib.llama_sampler_init_top_k(p.top_k),
        "typ_p": lambda: lib.llama_sampler_init_typical(p.typical_p, p.min_keep),
        "top_p": lambda: lib.llama_sampler_init_top_p(p.top_p, p.min_keep),
        "min_p": lambda: lib.llama_sampler_init_min_p(p.min_p, p.min_keep),
        "xtc": lambda: lib.llama_sampler_init_xtc(
            p.xtc_probability, p.xtc_threshold, p.min_keep, p.seed
        ),
        "temperature": lambda: lib.llama_sampler_init_temp_ext(
            p.temperature, p.dynatemp_range, p.dynatemp_exponent
        ),
        "infill": lambda: lib.llama_sampler_init_infill(vocabulary.pointer),
        "adaptive_p": lambda: lib.llama_sampler_init_adaptive_p(
            p.adaptive_target, p.adaptive_decay, p.seed
        ),
    }


def _mirostat(params: SamplingParams, vocabulary: Vocabulary) -> Any:
    seed, tau, eta = params.seed, params.mirostat_tau, params.mirostat_eta
    if params.mirostat == 2:
        return lib.llama_sampler_init_mirostat_v2(seed, tau, eta)
    return lib.llama_sampler_init_mirostat(
        vocabulary.n_vocab, seed, tau, eta, MIROSTAT_ESTIMATE_TOKENS
    )
