"""Search several specimens in one process of its own and print one JSON report a line: ``run_all.py FILE CONFIG CLASS...``."""

import json
import sys
from pathlib import Path

from dpaudit.probe.examination import prepare
from dpaudit.probe.messages import Request, decode_request
from dpaudit.properties.examination import Examination
from dpaudit.properties.report import encode_report


def main() -> None:
    template = decode_request(Path(sys.argv[1]).read_text())
    prepare(0)
    for class_name in sys.argv[2:]:
        request = Request(
            **{name: getattr(template, name) for name in Request.__slots__ if name != "class_name"},
            class_name=class_name,
        )
        report = encode_report(Examination(request).run(()))
        print(json.dumps({"class": class_name, **report}), flush=True)


main()
