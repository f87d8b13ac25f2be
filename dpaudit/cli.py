"""The command line: ``dpaudit COMMAND``. The options of every command are in ``dpaudit.options``."""

import os
import sys
import traceback
from collections.abc import Sequence

from dpaudit.configuration import apply_configuration
from dpaudit.contract import DpauditError, ExitCode, UsageError
from dpaudit.options.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = build_parser().parse_args(argv)
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
    except Exception as error:
        # Python would end with 1 here, which reads as a rejection.
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        print(
            f"dpaudit: the audit broke: {said}; this is a defect of dpaudit, and nothing was decided", file=sys.stderr
        )
        return int(ExitCode.BROKEN)


if __name__ == "__main__":
    sys.exit(main())
