"""Which form trains: the one that was asked for, or the cheapest that the candidate offers and that fits the memory."""

from dpaudit.contract import Form, RunConfig, UsageError
from dpaudit.contract.forms import methods_of

from .candidate import MechanismError

PLAIN_LIMIT_BYTES = 4 * 2**30
"""Most memory that the automatic choice spends on the per-sample gradients of a whole batch."""


def offers(loaded: type, form: Form) -> bool:
    """Whether the class has the methods of ``form``."""
    return all(callable(getattr(loaded, name, None)) for name in methods_of(form))


def choose_form(asked: Form | None, loaded: type, config: RunConfig, *, processes: int, file: str) -> Form:
    """The form that trains. ``asked`` ``None`` chooses: weights, else chunks, else plain.

    Several processes need the weights form: only there does a sum over processes, with noise once, equal one process.

    Raises:
        MechanismError: the class does not offer what was asked for, or what several processes need.
        UsageError: only the plain form is there, and its gradients do not fit.
    """
    candidates = [Form.WEIGHTS] if processes > 1 else [Form.WEIGHTS, Form.CHUNKS, Form.PLAIN]
    if asked is not None:
        candidates = [form for form in candidates if form is asked]
    chosen = next((form for form in candidates if offers(loaded, form)), None)
    if chosen is None:
        wanted = asked or Form.WEIGHTS
        why = f" with {processes} processes" if processes > 1 else ""
        raise MechanismError(
            f"mechanism: {file}: training in the form {wanted}{why} needs the methods {', '.join(methods_of(wanted))}, which "
            "the class lacks or cannot be split over processes; add them, or train in the form plain in one process",
            file=file,
            line=None,
        )
    needed = 4 * config.n_params * config.batch_size
    if chosen is Form.PLAIN and asked is None and needed > PLAIN_LIMIT_BYTES:
        raise UsageError(
            f"form: the gradients of {config.batch_size} rows of {config.n_params} parameters take {needed / 2**30:.1f} GiB, "
            f"above {PLAIN_LIMIT_BYTES / 2**30:g} GiB, and a mechanism with only clip_and_noise is never called chunk by "
            "chunk; give it weights and noise_std or begin_step, accumulate and finalize, or ask for --form plain"
        )
    return chosen
