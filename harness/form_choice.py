"""Which form trains: the one that was asked for, or the cheapest that the candidate offers and that fits the memory."""

from dpaudit.contract import Form, RunConfig, UsageError
from dpaudit.contract.forms import methods_of

from .candidate import MechanismError

PLAIN_LIMIT_BYTES = 4 * 2**30
"""Most memory that the automatic choice spends on the per-sample gradients of a whole batch."""


def offers(loaded: type, form: Form) -> bool:
    """Whether the class has the methods of ``form``."""
    return all(callable(getattr(loaded, name, None)) for name in methods_of(form))


def choose_form(asked: Form | None, loaded: type, config: RunConfig, *, file: str) -> Form:
    """The form that trains. ``asked`` ``None`` chooses: weights, else chunks, else plain.

    Raises:
        MechanismError: the class does not offer what was asked for.
        UsageError: only the plain form is there, and its gradients do not fit.
    """
    candidates = [Form.WEIGHTS, Form.CHUNKS, Form.PLAIN] if asked is None else [asked]
    chosen = next((form for form in candidates if offers(loaded, form)), None)
    if chosen is None:
        wanted = asked or Form.PLAIN
        raise MechanismError(
            f"mechanism: {file}: training in the form {wanted} needs the methods {', '.join(methods_of(wanted))}, which "
            "the class lacks; add them, or train in the form plain",
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
