"""Errors that a user of dpaudit can cause and can mend.

Every message says what was expected, what arrived, where, and what to do.
"""


class DpauditError(Exception):
    """Base of every error that dpaudit raises on purpose."""


class UsageError(DpauditError):
    """The request itself is wrong: an unknown name, a bad number, a missing file. Exit code 2."""


class UnsupportedCellError(UsageError):
    """No valid accounting is known for this combination of sampler, relation and rows."""


class DataError(UsageError):
    """A data set or an artefact on disk is absent, truncated or malformed."""


class AuditBrokenError(DpauditError):
    """dpaudit itself failed. Exit code 3: nothing that this audit says may be used."""
