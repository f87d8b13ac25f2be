"""Mutate sound mechanisms and audit the mutants: ``python -m tests.mutation.mechanisms [--sample N] [--seed N] [--out FOLDER]``.

Three stages. (1) The static layer on every sampled mutant: without its bound, or with one that costs more than the target, no
audit can end ACCEPTED. (2) Mutants that stage 1 lets through are measured by an oracle that shares no code with the gate: those
that keep the budget are no faults. (3) The deterministic layers on every mutant that stages 1 and 2 leave, and on a sample of
all, for the share that is REJECTED with a witness, and to see that none of it is wrong. A mutant that spends more than its
original and is ACCEPTED, or that keeps the budget and is REJECTED, is a wrong verdict, and the command ends with 1.
"""

import argparse
import functools
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import EventTrace, RunConfig
from dpaudit.gate import audit
from dpaudit.probe import SourceError, load_source
from dpaudit.static import analyse
from tests.corpus.configs import config as corpus_config
from tests.corpus.run import DETERMINISTIC, FOLDER, specimens

from .operators import Mutation, mutate, mutations
from .oracle import Reading, measured
from .report import read_rows, seen, write_report

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 0.04
"""Of the oracle: four times the error of a standard deviation from 600 samples, averaged over the coordinates that move."""

ARGUED = {
    (
        "sound/top_k_of_released.py",
        "comparison turned round",
    ): "keeps the small instead of the large RELEASED coordinates",
}
"""Faults that the oracle cannot judge, since they cut or round what was released already, and why they cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A sound mechanism and the run that it is audited under."""

    name: str
    text: str
    config: str


@dataclass(slots=True, kw_only=True)
class Row:
    """One mutant and what became of it. ``verdict`` is empty where stage 1 stopped it and stage 2 did not draw it.

    ``seen`` is a hash of the mutant's text and of dpaudit's: what is on record of other texts says nothing.
    """

    original: str
    config: str
    mutation: Mutation
    static: str
    verdict: str = ""
    rules: tuple[str, ...] = ()
    oracle: float | None = None
    flaw: str = ""
    argued: str = ""
    equivalent: bool = False
    seen: str = ""

    @property
    def killed(self) -> bool:
        """Whether it cannot, or did not, end ACCEPTED."""
        return self.verdict != "ACCEPTED" and not self.equivalent

    @property
    def wrong(self) -> bool:
        """ACCEPTED though it spends more, or REJECTED though the static layer proves, and the oracle finds, that it does not."""
        return self.verdict == ("REJECTED" if self.equivalent else "ACCEPTED")


_ORACLE = threading.Lock()


def run_of(name: str) -> RunConfig:
    """The corpus's run of that name with another clipping bound: at 1 many faults would cancel."""
    return replace(corpus_config(name), max_grad_norm=0.8)


def originals(only: str = "") -> tuple[Original, ...]:
    """The accepted mechanisms and the sound files of the corpus."""
    found = [
        Original(name=f"accepted/{path.name}", text=path.read_text(encoding="utf-8"), config="default")
        for path in sorted((ROOT / "mechanisms" / "accepted").glob("*.py"))
    ]
    for specimen in specimens():
        if specimen.sound:
            text = (FOLDER / "mechanisms" / specimen.path).read_text(encoding="utf-8")
            found.append(Original(name=specimen.path, text=text, config=specimen.config))
    return tuple(original for original in found if only in original.name)


def sampled(chosen: tuple[Original, ...], size: int, seed: int) -> list[tuple[Original, Mutation, str]]:
    """Mutants, each operator about equally often, no text twice."""
    generator = random.Random(seed)
    by_operator: dict[str, list[tuple[Original, Mutation]]] = {}
    for original in chosen:
        for mutation in mutations(original.text):
            by_operator.setdefault(mutation.operator, []).append((original, mutation))
    for group in by_operator.values():
        generator.shuffle(group)
    seen = {original.text for original in chosen}
    picked: list[tuple[Original, Mutation, str]] = []
    while len(picked) < size and any(by_operator.values()):
        for group in by_operator.values():
            if group and len(picked) < size:
                original, mutation = group.pop()
                text = mutate(original.text, mutation)
                if text not in seen:
                    seen.add(text)
                    picked.append((original, mutation, text))
    return picked


def screen(path: Path, config: RunConfig) -> tuple[str, bool]:
    """What the static layer says, and whether that could end ACCEPTED."""
    try:
        source = load_source(str(path))
    except SourceError as error:
        return f"{error.finding.rule}: {error.finding.message}"[:160], False
    result = analyse(source, config)
    if result.sigma_effective is None:
        assert result.refusal is not None
        return f"{result.refusal.rule}: {result.refusal.message}"[:160], False
    upper = epsilon_bracket(EventTrace.of_run(config, result.sigma_effective), config.target_delta).upper
    return f"epsilon at most {upper:.6g}", upper is not None and upper <= config.target_epsilon


@functools.cache
def _of_original(original: Original) -> Reading:
    """What the oracle reads of the original: where releases are rounded, thresholded or shrunk it reads too little noise."""
    return measured(original.text, run_of(original.config))


def on_record(folder: Path | None) -> dict[str, Row]:
    """Rows of an earlier campaign by what they have seen."""
    found = {}
    for plain in [] if folder is None else read_rows(folder):
        kept = {part.name: plain[part.name] for part in fields(Row) if part.name in plain}
        row = Row(**{**kept, "mutation": Mutation(**plain["mutation"]), "rules": tuple(plain["rules"])})
        found[row.seen] = row
    return found


def examine(original: Original, mutation: Mutation, text: str, folder: Path, number: int, whole: bool) -> Row:
    """All stages of one mutant; ``whole`` asks for stage 3 in any case."""
    path = folder / f"mutant_{number}.py"
    path.write_text(text, encoding="utf-8")
    config = run_of(original.config)
    said, open_to_acceptance = screen(path, config)
    row = Row(original=original.name, config=original.config, mutation=mutation, static=said, seen=seen(text))
    if open_to_acceptance:
        with _ORACLE:  # it seeds the global generators
            reading = measured(text, config)
            needed = config.noise_multiplier
            if not reading.noise_multiplier >= needed * (1 - TOLERANCE) or reading.flaw:
                own = _of_original(original)
                needed = min(needed, own.noise_multiplier)
                if own.flaw == reading.flaw:
                    reading = replace(reading, flaw="")
        row.argued = ARGUED.get((original.name, mutation.what), "")
        row.oracle, row.flaw = reading.noise_multiplier, reading.flaw
        row.equivalent = bool(row.argued) or (not reading.flaw and reading.noise_multiplier >= needed * (1 - TOLERANCE))
    if whole or (open_to_acceptance and not row.equivalent):
        report = audit(str(path), config, layers=DETERMINISTIC)
        row.verdict = str(report.verdict)
        row.rules = tuple(dict.fromkeys(f.rule for f in report.findings if f.refutes or row.verdict != "REJECTED"))
        if not open_to_acceptance and row.verdict == "ACCEPTED":
            raise AssertionError(f"{path}: ACCEPTED without a static bound below the target")
    return row


def main() -> int:
    """Exit 0 if no mutant that spends more was ACCEPTED, 1 otherwise."""
    parser = argparse.ArgumentParser(description="mutation testing of the gate by mutants of sound mechanisms")
    parser.add_argument("--only", default="", help="part of the name of an original")
    parser.add_argument("--operator", default="", help="only mutants of this operator")
    parser.add_argument("--sample", type=int, default=340, help="mutants that the static layer sees")
    parser.add_argument("--whole", type=int, default=60, help="of those it stops, how many get the whole audit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for mechanisms.json and mechanisms.md")
    parser.add_argument(
        "--resume", action="store_true", help="keep what is on record in --out of the same texts and code"
    )
    arguments = parser.parse_args()
    began = time.process_time()
    settings = {name: value for name, value in vars(arguments).items() if name not in {"out", "jobs", "resume"}}
    chosen = sampled(originals(arguments.only), arguments.sample, arguments.seed)
    chosen = [item for item in chosen if arguments.operator in item[1].operator]
    if not chosen:
        parser.error("no mutant is left")
    whole = set(random.Random(arguments.seed + 1).sample(range(len(chosen)), min(arguments.whole, len(chosen))))
    known = on_record(arguments.out) if arguments.resume else {}

    def row_of(number: int, folder: Path) -> Row:
        original, mutation, text = chosen[number]
        row = known.get(seen(text))
        if row is not None and (row.verdict or number not in whole):
            return row
        return examine(original, mutation, text, folder, number, number in whole)

    with tempfile.TemporaryDirectory(prefix="mutants-") as name, ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(row_of, number, Path(name)) for number in range(len(chosen))]
        rows = []
        for number, future in enumerate(futures):
            rows.append(row := future.result())
            if row.wrong and arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                (arguments.out / f"wrong_{number}.py").write_text(chosen[number][2], encoding="utf-8")
            print(_line(row), flush=True)
            if arguments.out:  # after every mutant: a campaign may be interrupted
                write_report(arguments.out, [_plain(row) for row in rows], settings, drawn=len(chosen))
    wrong = [row for row in rows if row.wrong]
    verdicts = Counter(row.verdict or "not audited wholly" for row in rows)
    print(dict(verdicts), f"wrong: {len(wrong)}", file=sys.stderr)
    print(f"{time.process_time() - began:.0f} s of this process's time", file=sys.stderr)
    return 1 if wrong else 0


def _line(row: Row) -> str:
    mark, mutation = "WRONG" if row.wrong else "     ", row.mutation
    oracle = "" if row.oracle is None else f" oracle {row.oracle:.4g} {row.flaw}"
    word = row.verdict or ("budget kept" if row.equivalent else "stopped")
    name = f"{mutation.operator}:{mutation.position}:{mutation.variant} {row.original}:{mutation.line} {mutation.what}"
    return f"{mark} {word:12} {name} | {row.static[:90]} {','.join(row.rules)}{oracle}"


def _plain(row: Row) -> dict[str, object]:
    return {**asdict(row), "killed": row.killed, "wrong": row.wrong}


if __name__ == "__main__":
    sys.exit(main())
