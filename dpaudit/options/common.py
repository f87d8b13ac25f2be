"""What commands share: how one is declared and loaded, and the options that several have."""

import argparse
from collections.abc import Callable

from dpaudit.contract import ExitCode, Relation, Sampler

from .numbers import delta, positive, positive_number, probability

EXIT_CODES = """\
exit codes: 0 all accepted (or all as expected, with --expect), 1 a rejection (or a surprise), 2 usage or configuration,
3 the audit itself broke, 4 inconclusive, 5 nothing audited, 130 interrupted"""

Commands = argparse._SubParsersAction  # the type that argparse gives to no public name


def command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, *examples: str
) -> argparse.ArgumentParser:
    """Declare one command: its line in the list, its description, examples and the exit codes."""
    shown = "\n".join(f"  {example}" for example in examples)
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{shown}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def runs(module: str, function: str) -> Callable[[argparse.Namespace], ExitCode]:
    """A command whose module, and all that it imports, is loaded only when the command runs."""

    def run(arguments: argparse.Namespace) -> ExitCode:
        from importlib import import_module

        command: Callable[[argparse.Namespace], ExitCode] = getattr(
            import_module(f"dpaudit.commands.{module}"), function
        )
        return command(arguments)

    return run


def add_event(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """What is accounted: sampling probability, delta, relation, sampler and its row counts."""
    parser.add_argument("--q", type=probability, required=required, help="sampling probability (expected batch over N)")
    parser.add_argument("--delta", type=delta, required=required)
    parser.add_argument("--relation", choices=list(Relation), help="default: the sampler's own")
    parser.add_argument("--sampler", choices=list(Sampler), default=Sampler.POISSON if required else None)
    parser.add_argument("--batch-rows", type=positive, metavar="B", help="cap on rows (truncated_poisson, fixed_size)")
    parser.add_argument("--dataset-size", type=positive, metavar="N", help="examples (truncated_poisson, fixed_size)")
    parser.add_argument(
        "--preparation",
        type=positive_number,
        action="append",
        metavar="Z",
        help="noise multiplier of a Gaussian release of the whole data set before the first step; may be given again",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where data sets are and where results go."""
    parser.add_argument("--data-root", metavar="DIR", help="where the data sets are (default: $DPAUDIT_DATA or ./data)")
    parser.add_argument("--out", metavar="DIR", help="where to write reports and run directories")


def add_form(parser: argparse.ArgumentParser) -> None:
    """Which form of the report goes to stdout."""
    parser.add_argument(
        "--format",
        choices=["text", "markdown", "json", "html", "sarif"],
        default="text",
        help="what goes to stdout (html of several audits: pages in --out)",
    )
    parser.add_argument(
        "--docs-url", metavar="URL", help="where docs/ is published; SARIF rules link to their page there"
    )


def add_manners(parser: argparse.ArgumentParser) -> None:
    """How the command behaves on a terminal."""
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--no-colour", "--no-color", action="store_true", help="plain text on a terminal too")
