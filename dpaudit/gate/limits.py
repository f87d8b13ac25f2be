"""What an audit takes for granted, and what it could not have detected. Printed with every verdict."""

from collections.abc import Iterable, Iterator, Sequence

from dpaudit.contract import Layer, LayerRecord, NonFinite, Outcome, RunConfig, Sampler
from dpaudit.contract.kernel_barrier import barrier


def assumptions(config: RunConfig, *, ledgers: int) -> Iterator[str]:
    """Sentences on what the verdict takes for granted."""
    yield (
        f"The question: sampler {config.cell.sampler}, relation {config.cell.relation}, rows {config.cell.rows}; "
        f"q = {config.sampling_probability:.6g}, {config.total_steps} steps, delta {config.target_delta:g}."
    )
    if config.preparation:
        several = "s" if len(config.preparation) > 1 else ""
        multipliers = ", ".join(f"{multiplier:g}" for multiplier in config.preparation)
        yield (
            f"Before the first step the harness releases the whole training set by the Gaussian mechanism at noise "
            f"multiplier{several} {multipliers}; that is counted into every epsilon here, and the harness is trusted to add "
            "that noise."
        )
    if ledgers:
        yield f"{ledgers} training run(s) left a ledger for this configuration; sampler facts are those recorded there."
    else:
        yield "No ledger of a training run under this configuration: the verdict holds for the DECLARED sampler."
    if config.cell.sampler is Sampler.SHUFFLE:
        yield "Every example takes part at most once an epoch, in a fresh uniform order."
    if config.cell.nonfinite is NonFinite.GUARDED:
        yield "The harness sets rows with a NaN or an Inf to zero before the mechanism sees them."
    yield "The random generators of torch, numpy and Python are taken as ideal sources."
    yield (
        "The last bits of the noise are taken for those of real numbers: attacks on floating-point noise (Mironov 2012) are "
        "outside this audit. Other rounding in float32 is allowed for in every static bound."
    )
    yield "Choosing hyper-parameters or epochs by looking at private data is not charged."
    if lacks := barrier():
        yield f"The isolation of the mechanism is incomplete on this machine: {'; '.join(lacks)}."
    yield "The author may be mistaken or over-eager, but does not attack the interpreter with native code."


def sentences(texts: Iterable[str]) -> tuple[str, ...]:
    """What several layers say, as sentences: each once, with a capital letter and a full stop."""
    told = (f"{text[:1].upper()}{text[1:]}" for text in texts)
    return tuple(dict.fromkeys(text if text.endswith((".", "!", "?")) else f"{text}." for text in told))


def blind_spots(layers: Sequence[LayerRecord], *, ledgers: int) -> Iterator[str]:
    """Sentences on what this audit could not have seen."""
    ran = {record.layer for record in layers if record.ran}
    if not any(record.layer is Layer.STATIC and record.outcome is Outcome.PASSED for record in layers):
        yield (
            "No static bound: the worst neighbour was searched for, not proved. A rare input that escapes the clip, or a "
            "branch that no probed batch takes, would not be seen."
        )
        yield "A trigger hidden behind one secret input value can be found only by the static layer or by reading the code."
    if Layer.PROPERTIES not in ran:
        yield "No property search: hostile gradients beyond the probe's candidates were not tried."
    if Layer.EMPIRICAL not in ran:
        yield "No attack was run: there is no empirical lower bound."
    if not ledgers:
        yield "Behaviour that differs in a real training run: none under this configuration was recorded."
