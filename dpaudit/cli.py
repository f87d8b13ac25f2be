"""The command line: ``dpaudit gate | train | replay | calibrate | report | verify | explain | bound``."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence

from dpaudit import __version__
from dpaudit.configuration import apply_configuration
from dpaudit.contract import (
    Calibration,
    DpauditError,
    ExitCode,
    NonFinite,
    Relation,
    Rows,
    Sampler,
    UsageError,
)

_EXIT_CODES = """\
exit codes: 0 all accepted (or all as expected, with --expect), 1 a rejection (or a surprise), 2 usage or configuration,
3 the audit itself broke, 4 inconclusive, 5 nothing audited"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        apply_configuration(arguments)
        return int(arguments.run(arguments))
    except UsageError as error:
        print(f"dpaudit: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)
    except DpauditError as error:
        print(f"dpaudit: the audit broke: {error}", file=sys.stderr)
        return int(ExitCode.BROKEN)
    except KeyboardInterrupt:
        print("dpaudit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.BROKEN)
    except OSError as error:
        print(f"dpaudit: {error.strerror or error} ({error.filename}); nothing was decided", file=sys.stderr)
        return int(ExitCode.BROKEN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dpaudit",
        description="Does a DP-SGD mechanism keep the budget that it claims, and what accuracy does it buy?",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dpaudit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_gate(commands)
    _add_train(commands)
    _add_replay(commands)
    _add_calibrate(commands)
    _add_report(commands)
    _add_verify(commands)
    _add_explain(commands)
    _add_bound(commands)
    return parser


Commands = argparse._SubParsersAction  # the type that argparse gives to no public name


def _add_gate(commands: "Commands[argparse.ArgumentParser]") -> None:
    gate = _command(
        commands,
        "gate",
        "audit mechanisms: ACCEPTED, REJECTED or INCONCLUSIVE, with evidence",
        "dpaudit gate my_mechanism.py --preset mnist --out report",
    )
    gate.add_argument("paths", nargs="+", metavar="PATH", help="file.py, file.py::ClassName, or a folder of them")
    gate.add_argument("--preset", default=None, help="settings and budget of the claim (default: digits)")
    gate.add_argument(
        "--noise-multiplier", type=_not_negative, metavar="X", help="what the constructor gets (default: calibrated)"
    )
    gate.add_argument("--calibration", choices=list(Calibration), help="the accountant that the claim rests on")
    gate.add_argument(
        "--layers", metavar="A,B", help="layers to run (default: static,properties,replay; add empirical for an attack)"
    )
    gate.add_argument("--relation", choices=list(Relation), help="neighbouring relation")
    gate.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    gate.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    gate.add_argument("--nonfinite", choices=list(NonFinite), help="who handles rows with a NaN or an Inf")
    gate.add_argument(
        "--expect", metavar="FILE", help="TOML file of expected verdicts; exit 0 when all are as expected"
    )
    gate.add_argument("--accuracy", metavar="DATASET|none", help="data set to train on for accuracy (default: digits)")
    gate.add_argument("--runs", type=_positive, metavar="N", help="training runs (seeds) for the accuracy (default: 1)")
    gate.add_argument("--jobs", type=_positive, metavar="N", help="mechanisms audited at once (default: 2)")
    gate.add_argument(
        "--time-limit",
        type=_positive_number,
        metavar="S",
        help="seconds for the probe of one mechanism (default: 120, and 1 for every 20 steps)",
    )
    gate.add_argument("--admit-inconclusive", action="store_true", help="exit 0 although some audits are inconclusive")
    gate.add_argument(
        "--format", choices=["text", "json", "html"], default="text", help="what goes to stdout (html: pages in --out)"
    )
    _add_places(gate)
    _add_manners(gate)
    gate.set_defaults(run=_run("gate", "run"))


def _add_train(commands: "Commands[argparse.ArgumentParser]") -> None:
    train = _command(
        commands,
        "train",
        "train a mechanism and leave a run directory with its ledger",
        "dpaudit train my_mechanism.py --preset mnist --seeds 42,123,456 --out runs",
    )
    train.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    train.add_argument("--preset", required=True, help="data set, network, settings and budget")
    train.add_argument("--seeds", default=None, help="comma-separated (default: 42,123,456)")
    train.add_argument("--epochs", type=_positive, metavar="N", help="instead of the preset's")
    train.add_argument(
        "--noise-multiplier", type=_not_negative, metavar="X", help="what the constructor gets (default: calibrated)"
    )
    train.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    train.add_argument("--relation", choices=list(Relation), help="neighbouring relation of the claim")
    train.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    train.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    _add_places(train)
    _add_manners(train)
    train.set_defaults(run=_run("training", "run"))


def _add_replay(commands: "Commands[argparse.ArgumentParser]") -> None:
    replay = _command(
        commands,
        "replay",
        "epsilon bracket of a noise schedule",
        "dpaudit replay --q 0.0042667 --delta 1e-5 --sigma 0.2385 --steps 1170",
    )
    _add_event(replay)
    replay.add_argument("--sigma", type=_not_negative, help="constant noise multiplier")
    replay.add_argument("--steps", type=_positive, help="number of steps at --sigma")
    replay.add_argument("--schedule", metavar="FILE", help="text file, one sigma a line")
    replay.add_argument("--accountant", choices=["pld", "rdp", "benchmark"], default="pld")
    replay.set_defaults(run=_run("accounts", "run_replay"))


def _add_calibrate(commands: "Commands[argparse.ArgumentParser]") -> None:
    calibrate = _command(
        commands,
        "calibrate",
        "noise multiplier that meets a target epsilon, rounded up",
        "dpaudit calibrate --epsilon 3 --delta 1e-5 --q 0.0042667 --steps 1170",
    )
    calibrate.add_argument("--epsilon", type=_positive_number, required=True)
    calibrate.add_argument("--steps", type=_positive, required=True)
    _add_event(calibrate)
    calibrate.set_defaults(run=_run("accounts", "run_calibrate"))


def _add_report(commands: "Commands[argparse.ArgumentParser]") -> None:
    report = _command(
        commands,
        "report",
        "render report.json files again, or describe run directories",
        "dpaudit report reports/local --out pages",
    )
    report.add_argument("paths", nargs="+", metavar="RUN_OR_REPORT")
    report.add_argument("--out", metavar="DIR", help="where to write the pages")
    report.add_argument("--no-colour", "--no-color", action="store_true", help="plain text on a terminal too")
    report.set_defaults(run=_run("report", "run"))


def _add_verify(commands: "Commands[argparse.ArgumentParser]") -> None:
    verify = _command(
        commands,
        "verify",
        "re-check a report's arithmetic from the report alone",
        "dpaudit verify reports/local",
    )
    verify.add_argument("path", metavar="REPORT", help="report.json, or the folder that holds it")
    verify.set_defaults(run=_run("verify", "run"))


def _add_explain(commands: "Commands[argparse.ArgumentParser]") -> None:
    explain = _command(
        commands,
        "explain",
        "show a mechanism's data flow: what is private, what is noise, where it is released",
        "dpaudit explain my_mechanism.py --preset mnist",
    )
    explain.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    explain.add_argument("--preset", default=None, help="settings of the claim (default: digits)")
    explain.add_argument("--relation", choices=list(Relation), help="neighbouring relation")
    explain.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    explain.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    explain.set_defaults(run=_run("explain", "run"))


def _add_bound(commands: "Commands[argparse.ArgumentParser]") -> None:
    bound = _command(
        commands,
        "bound",
        "lower bounds on epsilon from the scores of an attack",
        "dpaudit bound --in with.csv --out without.csv --delta 1e-5",
    )
    bound.add_argument("--scores", metavar="FILE", help="npz or csv with score, included and id of every canary")
    bound.add_argument("--in", dest="inside", metavar="FILE", help="csv of scores with the canary in")
    bound.add_argument("--out", dest="outside", metavar="FILE", help="csv of scores with the canary out")
    bound.add_argument("--delta", type=_delta, required=True)
    bound.add_argument(
        "--design", choices=["independent", "one_run"], help="how the scores arose (default: independent)"
    )
    bound.add_argument("--confidence", type=_probability, help="of every printed bound (default: 0.95)")
    bound.add_argument("--method", default="all", metavar="A,B", help="names of methods (default: all)")
    bound.add_argument("--threshold", metavar="T", help="a number fixed in advance, split, multi-split or bonferroni")
    bound.add_argument("--q", type=_probability, help="sampling probability of the claimed run")
    bound.add_argument("--sigma", type=_positive_number, help="noise multiplier of the claimed run")
    bound.add_argument("--steps", type=_positive, help="steps of the claimed run")
    bound.add_argument("--format", choices=["text", "json"], default="text")
    bound.set_defaults(run=_run("bound", "run"))


def _command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, example: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example: {example}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_event(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--q", type=_probability, required=True, help="sampling probability (expected batch over N)")
    parser.add_argument("--delta", type=_delta, required=True)
    parser.add_argument("--relation", choices=list(Relation), help="default: the sampler's own")
    parser.add_argument("--sampler", choices=list(Sampler), default=Sampler.POISSON)
    parser.add_argument("--batch-rows", type=_positive, metavar="B", help="cap on rows (truncated_poisson, fixed_size)")
    parser.add_argument("--dataset-size", type=_positive, metavar="N", help="examples (truncated_poisson, fixed_size)")
    parser.add_argument("--format", choices=["text", "json"], default="text")


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", metavar="DIR", help="where the data sets are (default: $DPAUDIT_DATA or ./data)")
    parser.add_argument("--out", metavar="DIR", help="where to write reports and run directories")


def _add_manners(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--no-colour", "--no-color", action="store_true", help="plain text on a terminal too")


def _run(module: str, function: str) -> Callable[[argparse.Namespace], ExitCode]:
    """A command whose module, and all that it imports, is loaded only when the command runs."""

    def run(arguments: argparse.Namespace) -> ExitCode:
        from importlib import import_module

        command: Callable[[argparse.Namespace], ExitCode] = getattr(
            import_module(f"dpaudit.commands.{module}"), function
        )
        return command(arguments)

    return run


def _number(text: str, accept: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def _not_negative(text: str) -> float:
    return _number(text, lambda value: 0 <= value < math.inf, "a finite number >= 0")


def _positive_number(text: str) -> float:
    return _number(text, lambda value: 0 < value < math.inf, "a finite number > 0")


def _probability(text: str) -> float:
    return _number(text, lambda value: 0 < value <= 1, "a probability in (0, 1]")


def _delta(text: str) -> float:
    return _number(text, lambda value: 0 <= value < 1, "a delta in [0, 1)")


def _positive(text: str) -> int:
    return int(_number(text, lambda value: value >= 1 and value == int(value), "a whole number >= 1"))


if __name__ == "__main__":
    sys.exit(main())
