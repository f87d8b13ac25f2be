"""The vocabulary: closed sets of words, one meaning each.

Every enum is a ``StrEnum`` whose value is the word used on the command line and in ``report.json``.
"""

from enum import IntEnum, StrEnum


class Layer(StrEnum):
    """One of the four independent ways of looking at a mechanism."""

    STATIC = "static"
    PROPERTIES = "properties"
    EMPIRICAL = "empirical"
    REPLAY = "replay"


class Outcome(StrEnum):
    """What one check concluded."""

    PASSED = "passed"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    ERRORED = "errored"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """What one audit concluded. ``ACCEPTED`` and ``REJECTED`` are theorems; the rest is neither."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    INCONCLUSIVE = "INCONCLUSIVE"


class Severity(StrEnum):
    """What a finding does to the claim."""

    CRITICAL = "critical"
    """The claim is void."""
    MAJOR = "major"
    """The claim is weaker than stated."""
    MINOR = "minor"
    """A statement is unsupported, but the budget is kept."""


class Strength(StrEnum):
    """How strong the evidence behind a finding is. A heuristic alone never rejects."""

    PROOF = "proof"
    STATISTICAL = "statistical"
    HEURISTIC = "heuristic"


class Sampler(StrEnum):
    """How the rows of a batch are drawn."""

    POISSON = "poisson"
    """Every example independently with probability q at every step."""
    TRUNCATED_POISSON = "truncated_poisson"
    """Poisson, cut to at most B rows; absent rows are zero gradients."""
    FIXED_SIZE = "fixed_size"
    """B distinct examples, drawn afresh and without replacement at every step."""
    SHUFFLE = "shuffle"
    """A fresh permutation each epoch, cut into batches: every example at most once an epoch."""


class Relation(StrEnum):
    """Which pairs of data sets are neighbours."""

    ADD_REMOVE = "add_remove"
    ZERO_OUT = "zero_out"
    REPLACE_ONE = "replace_one"


class Rows(StrEnum):
    """How many rows the mechanism sees at a step."""

    SAMPLED = "sampled"
    """The sampled rows. Their number is private."""
    CONSTANT = "constant"
    """Always B rows. Absent ones are zero gradients."""


class NonFinite(StrEnum):
    """Who is responsible for a row with a NaN or an Inf."""

    GUARDED = "guarded"
    """The harness sets the row to zero before the mechanism sees it, and counts it."""
    RAW = "raw"
    """The mechanism is judged alone."""


class Form(StrEnum):
    """Which form of the interface handed over the gradients. The form that trained is the form that is audited."""

    PLAIN = "plain"
    """``clip_and_noise``: all per-sample gradients of the batch at once."""
    WEIGHTS = "weights"
    """``weights(norms)`` and ``noise_std()``: no per-sample gradient is stored."""
    CHUNKS = "chunks"
    """``begin_step``, ``accumulate(chunk)``, ``finalize``: the batch in pieces, noise once."""


class Calibration(StrEnum):
    """Which accountant the author's claim rests on."""

    PLD = "pld"
    """Privacy loss distributions, pessimistic end: dpaudit's own."""
    BENCHMARK = "benchmark"
    """The public benchmark's formula. Invalid; kept to reproduce and to refute its claims."""


class NoiseClass(StrEnum):
    """What the probe found about the noise of one step."""

    CLEAN = "clean"
    """Gaussian, fresh, independent of private data, and nothing private stays behind."""
    CORRELATED = "correlated"
    """Gaussian, but a row's effect is masked by the noise of several steps jointly."""
    LEAK = "leak"
    """Private state leaves the step un-noised and reaches a later release."""
    DATA_DEPENDENT = "data_dependent"
    """The noise scale, or a threshold beside it, moves with private data."""
    NO_FRESH_NOISE = "no_fresh_noise"
    """Some direction that a row can move carries no fresh Gaussian noise."""
    UNRESOLVED = "unresolved"
    """None of the above could be established. Fails closed."""


class ExitCode(IntEnum):
    """Exit codes of the command line. When several apply: ``BROKEN`` > ``REJECTED`` > ``INCONCLUSIVE``."""

    ALL_ACCEPTED = 0
    REJECTED = 1
    USAGE = 2
    BROKEN = 3
    INCONCLUSIVE = 4
    NOTHING_AUDITED = 5
