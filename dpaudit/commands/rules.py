"""``dpaudit rules``: the list of rules, and the page of each."""

import argparse
import difflib
import json
import sys

from dpaudit.contract import RULES, ExitCode, Rule, UsageError
from dpaudit.contract.rule_pages import rule_page


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print one line a rule, or the pages of those that are named in full."""
    chosen = _chosen(arguments.rules)
    if arguments.format == "json":
        rows = [
            {"id": r.id, "title": r.title, "why": r.why, "remedy": r.remedy, "page": rule_page(r.id)} for r in chosen
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif arguments.rules and all(word.upper() in RULES for word in arguments.rules):
        sys.stdout.write("\n".join(_page(rule) for rule in chosen))
    else:
        for rule in chosen:
            print(f"{rule.id}  {rule.title}")
        print("\ndpaudit rules ID shows why a rule voids a claim, with an example and the remedy.")
    return ExitCode.ALL_ACCEPTED


def _chosen(words: list[str]) -> list[Rule]:
    if not words:
        return [RULES[rule_id] for rule_id in sorted(RULES)]
    found: dict[str, Rule] = {}
    for word in words:
        matching = [rule_id for rule_id in sorted(RULES) if rule_id.startswith(word.upper())]
        if not matching:
            close = difflib.get_close_matches(word.upper(), RULES, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"rules: no rule {word!r}; {hint}dpaudit rules lists them all")
        found.update((rule_id, RULES[rule_id]) for rule_id in matching)
    return list(found.values())


def _page(rule: Rule) -> str:
    page = rule_page(rule.id)
    return page if page is not None else f"# {rule.id}: {rule.title}\n\n{rule.why}\n\n## Remedy\n\n{rule.remedy}\n"
