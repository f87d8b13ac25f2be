"""For-all-inputs bound on contribution and noise together, from one symbolic execution on tiny tensors."""

from .analysis import DEFAULT_TIME_LIMIT, Candidate, analyse_source
from .explain import explain, explain_line
from .process import analyse
from .verify import CertificateError, verify

__all__ = [
    "DEFAULT_TIME_LIMIT",
    "Candidate",
    "CertificateError",
    "analyse",
    "analyse_source",
    "explain",
    "explain_line",
    "verify",
]
