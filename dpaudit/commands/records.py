"""Reports that a command is given: a ``report.json``, or the folder that holds it."""

from pathlib import Path

from dpaudit.contract import AuditReport, DataError, UsageError
from dpaudit.report import from_json


def read_record(given: str, command: str) -> tuple[AuditReport, ...]:
    """The audits of one record.

    Raises:
        UsageError: there is no such file, or it cannot be read. DataError: it is no report. Both name the file.
    """
    path = Path(given)
    record = path / "report.json" if path.is_dir() else path
    return parse_record(read_text(record, command), record)


def read_text(record: Path, command: str) -> str:
    """The text of a record.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return record.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{command}: cannot read {record}: {error.strerror}; give a report.json or the folder that holds it"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{command}: cannot read {record}: expected a report.json, got bytes that are not UTF-8"
        ) from None


def parse_record(text: str, record: Path) -> tuple[AuditReport, ...]:
    """The audits in the text of ``record``.

    Raises:
        DataError: it is no report; names the file.
    """
    try:
        return from_json(text)
    except DataError as error:
        raise DataError(f"{record}: {error}") from None
