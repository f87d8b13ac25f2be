"""The command line: ``dpaudit COMMAND``. The options of every command are in ``dpaudit.options``."""

import argparse
import os
import sys
from collections.abc import Sequence

from dpaudit import __version__
from dpaudit.configuration import apply_configuration
from dpaudit.contract import DpauditError, ExitCode, UsageError
from dpaudit.options import COMMANDS, EXIT_CODES


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
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dpaudit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
