"""The search's worker: ``python -m dpaudit.properties.child REQUEST TRACES``, with the manners of the probe's worker."""

from collections.abc import Sequence
from typing import Any

from dpaudit.contract.guard import Attempt
from dpaudit.probe.messages import Request
from dpaudit.probe.worker import Send, serve

from .examination import Examination
from .report import encode_report


def _examine(request: Request, attempts: Sequence[Attempt], send: Send) -> Any:
    return encode_report(Examination(request).run(attempts))


def main() -> None:
    """Search the candidate that the request names."""
    serve(_examine)


if __name__ == "__main__":
    main()
