"""``dpaudit explain``: what the static layer sees in a mechanism: what is private, what is noise, where it is released."""

import argparse

from dpaudit.contract import ExitCode
from dpaudit.probe import SourceError, load_source
from dpaudit.static import analyse, explain, explain_line


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the data flow of one mechanism, or the line that prevents a bound."""
    import harness

    config = harness.run_config(
        arguments.preset,
        relation=arguments.relation,
        rows=arguments.rows,
        sampler=arguments.sampler,
    )
    try:
        source = load_source(arguments.path)
    except SourceError as error:
        print(f"{error.finding.file}: {error.finding.message}")
        return ExitCode.INCONCLUSIVE
    result = analyse(source, config, time_limit=60.0 + config.total_steps / 20)
    refusal = ""
    if result.refusal is not None:
        place = "" if result.refusal.line is None else f":{result.refusal.line}"
        refusal = f"{result.refusal.rule} {source.display}{place} {result.refusal.message}"
    if arguments.line is not None:
        known = {"lines": result.flow} if result.refusal is not None else result.certificate
        if refusal:
            print(f"Nothing was proved: {refusal}")
        print(explain_line(known, arguments.line).rstrip())
        return ExitCode.ALL_ACCEPTED if result.refusal is None else ExitCode.INCONCLUSIVE
    print(explain(result.certificate, refusal, result.assumptions, result.flow).rstrip())
    if result.conditional:
        print(result.conditional)
    return ExitCode.ALL_ACCEPTED if result.refusal is None else ExitCode.INCONCLUSIVE
