"""Refusal: the analysis stops because nothing could be proved from here on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why and where: rule id, line in the candidate's source (``None`` where no line can be named), and a sentence."""

    rule: str
    line: int | None
    message: str


class Refusal(BaseException):
    """Stops the candidate.

    A ``BaseException``, so that ``except Exception`` in the candidate does not catch it; the analysis also records
    every refusal when it is made, so that a bare ``except`` gains nothing.
    """

    def __init__(self, reason: Reason, session: object = None) -> None:
        """Args:
        session: the session that was going on, for what it knew until then.
        """
        super().__init__(f"{reason.rule} line {reason.line}: {reason.message}")
        self.reason, self.session = reason, session


def follow(error: BaseException) -> BaseException:
    """Mark an exception that is raised for a reason which the analysis follows: at every shape, and where the records say so."""
    error.followed = True  # type: ignore[attr-defined]
    return error


def is_followed(error: BaseException | None) -> bool:
    """Whether :func:`follow` has marked it."""
    return bool(getattr(error, "followed", False))
