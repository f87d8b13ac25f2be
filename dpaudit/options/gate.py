"""Options of ``dpaudit gate``."""

import argparse

from dpaudit.contract import Calibration, Form, NonFinite, Relation, Rows, Sampler

from .common import Commands, add_form, add_manners, add_places, command, runs
from .numbers import delta, not_negative, positive, positive_number


def add_gate(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit gate``."""
    gate = command(
        commands,
        "gate",
        "audit mechanisms: ACCEPTED, REJECTED or INCONCLUSIVE, with evidence",
        "dpaudit gate my_mechanism.py --preset mnist --out report",
        "dpaudit gate mechanisms --expect mechanisms/expected.toml --jobs 4",
        "dpaudit gate my_mechanism.py --layers static,properties,replay,empirical --accuracy none",
        "dpaudit gate --opacus train.py --format sarif > dpaudit.sarif",
    )
    gate.add_argument("paths", nargs="*", metavar="PATH", help="file.py, file.py::ClassName, or a folder of them")
    _add_adapters(gate)
    gate.add_argument("--preset", default=None, help="settings and budget of the claim (default: digits)")
    gate.add_argument(
        "--noise-multiplier", type=not_negative, metavar="X", help="what the constructor gets (default: calibrated)"
    )
    gate.add_argument(
        "--max-grad-norm", type=positive_number, metavar="C", help="what the constructor gets, instead of the preset's"
    )
    gate.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="length of the run, instead of the preset's; of an --opacus factory's run",
    )
    gate.add_argument("--calibration", choices=list(Calibration), help="the accountant that the claim rests on")
    gate.add_argument("--layers", metavar="A,B", help="layers to run (default: static,properties,empirical,replay)")
    gate.add_argument("--required-layers", metavar="A,B", help="further layers that ACCEPTED needs; they are run")
    gate.add_argument("--relation", choices=list(Relation), help="neighbouring relation")
    gate.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    gate.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    gate.add_argument("--nonfinite", choices=list(NonFinite), help="who handles rows with a NaN or an Inf")
    gate.add_argument(
        "--expect", metavar="FILE", help="TOML file of expected verdicts; exit 0 when all are as expected"
    )
    gate.add_argument("--form", choices=list(Form), help="form of the interface to audit and to train (default: plain)")
    gate.add_argument(
        "--attack-record",
        action="append",
        metavar="DIR",
        help="attack.json, or its folder, of an attack on trainings: taken into the report of the mechanism that it is about",
    )
    gate.add_argument("--accuracy", metavar="DATASET|none", help="data set to train on for accuracy (default: digits)")
    gate.add_argument("--runs", type=positive, metavar="N", help="training runs (seeds) for the accuracy (default: 1)")
    gate.add_argument("--jobs", type=positive, metavar="N", help="mechanisms audited at once (default: 2)")
    gate.add_argument(
        "--time-limit",
        type=positive_number,
        metavar="S",
        help="seconds for each of probe, static layer and property search (default: 120, 60, 120; more for long runs)",
    )
    gate.add_argument("--admit-inconclusive", action="store_true", help="exit 0 although some audits are inconclusive")
    gate.add_argument("--resume", action="store_true", help="take finished audits from --out where nothing changed")
    add_form(gate)
    add_places(gate)
    add_manners(gate)
    gate.set_defaults(run=runs("gate", "run"))


def _add_adapters(gate: argparse.ArgumentParser) -> None:
    """Code that was not written for dpaudit."""
    others = gate.add_argument_group("other code")
    others.add_argument(
        "--opacus", action="append", metavar="SPEC", help="an Opacus script.py, file.py:factory or module:factory"
    )
    others.add_argument("--function", action="append", metavar="FILE:NAME", help="a function (grads, step) -> update")
    others.add_argument(
        "--ledger",
        action="append",
        metavar="FILE|RUN",
        help="a recorded run (JSONL), a run directory or a folder of them: replay alone",
    )
    others.add_argument("--epsilon", type=positive_number, help="budget of an --opacus run (default: what it states)")
    others.add_argument("--delta", type=delta, help="delta of an --opacus run (default: what it states)")
