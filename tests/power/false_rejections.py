"""Sound mechanisms audited under many seeds: ``python -m tests.power.false_rejections [--seeds N] [--out FOLDER]``.

``gate.audit`` itself, all layers, with the seed of everything in it that is drawn: of the probe's rows and generators, of the
property search, and of the attacks' trials. The static layer and the replay draw nothing. The audits go round the mechanisms, so
that each gets its share of the seeds; the run is the smallest honest one. With ``--out`` what is on record there is not run
again, and an interruption loses one audit. Ends with 1 if any audit is REJECTED.
"""

import argparse
import functools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.contract import Cell, RunConfig, Verdict
from dpaudit.gate import audit, auditing, layers

ROOT = Path(__file__).resolve().parents[2]
SOUND = (
    "mechanisms/accepted/standard_dpsgd.py", "mechanisms/accepted/per_layer_noise.py", "mechanisms/accepted/centred_clipping.py",
    "mechanisms/accepted/per_sample_adaptive_clipping.py", "mechanisms/accepted/automatic_clipping.py",
)  # fmt: skip
STEPS = 4
CONFIG = RunConfig(
    dataset_size=400, batch_size=40, expected_batch=40.0, epochs=1, steps_per_epoch=STEPS, max_grad_norm=1.0, target_epsilon=3.0,
    target_delta=1e-5, parameter_shapes=((3, 2), (3,)),
    noise_multiplier=calibrate_noise_multiplier(
        target_epsilon=3.0, delta=1e-5, cell=Cell(), sampling_probability=0.1, steps=STEPS
    ).noise_multiplier,
)  # fmt: skip


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Audits within draw everything from that seed."""
    kept = (auditing.measure, layers.search, layers.attack)
    auditing.measure, layers.search, layers.attack = (functools.partial(call, seed=seed) for call in kept)  # type: ignore
    try:
        yield
    finally:
        auditing.measure, layers.search, layers.attack = kept


def audited(spec: str, seed: int) -> dict[str, Any]:
    """One audit as a row of the record."""
    with seeded(seed):
        report = audit(str(ROOT / spec), CONFIG)
    return {
        "mechanism": spec, "seed": seed, "verdict": str(report.verdict), "sha256": report.source_sha256[:16],
        "findings": [f"{finding.rule}: {finding.message}" for finding in report.findings],
        "layers": {str(record.layer): str(record.outcome) for record in report.layers}, "seconds": round(report.seconds, 1),
    }  # fmt: skip


def main() -> int:
    """Exit 0 if nothing was REJECTED, 1 otherwise."""
    parser = argparse.ArgumentParser(description="false rejections of sound mechanisms over seeds")
    parser.add_argument("--seeds", type=int, default=200, help="audits in total")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no further audit after so long")
    parser.add_argument(
        "--out", type=Path, help="folder for false-rejections.json and README.md, added to what is there"
    )
    arguments = parser.parse_args()
    path = None if arguments.out is None else arguments.out / "false-rejections.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else []
    done = {(row["mechanism"], row["seed"]) for row in rows}
    began = time.monotonic()
    for seed in range(arguments.seeds):
        spec = SOUND[seed % len(SOUND)]
        if (spec, seed) in done or time.monotonic() - began > 60 * arguments.minutes:
            continue
        rows.append(audited(spec, seed))
        print(f"{rows[-1]['verdict']:12} {spec} seed {seed}, {rows[-1]['seconds']} s", flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
            (path.parent / "README.md").write_text(page(rows), encoding="utf-8")
    rejected = [row for row in rows if row["verdict"] == Verdict.REJECTED]
    print(dict(Counter(row["verdict"] for row in rows)), file=sys.stderr)
    return 1 if rejected else 0


def page(rows: list[dict[str, Any]]) -> str:
    """The record as Markdown."""
    count = len(rows)
    rejected = sum(row["verdict"] == Verdict.REJECTED for row in rows)
    lines = [
        "# Sound mechanisms under many seeds",
        "",
        "Made by `python -m tests.power.false_rejections --out reports/false-rejections`: whole audits with all layers, each "
        "with a seed of its own for the probe's rows and generators, the property search and the attacks' trials. The static "
        f"layer and the replay draw nothing. Run: {STEPS} Poisson steps, epsilon 3, noise multiplier "
        f"{CONFIG.noise_multiplier:.4f}.",
        "",
        f"**{rejected} of {count} audits REJECTED.**"
        + (
            ""
            if rejected or not count
            else f" By chance alone: at most {1 - 0.05 ** (1 / count):.2%} of audits, at 95 %."
        ),
        "",
        "| mechanism | audits | ACCEPTED | INCONCLUSIVE | REJECTED |",
        "|---|---|---|---|---|",
    ]
    for spec in SOUND:
        mine = Counter(row["verdict"] for row in rows if row["mechanism"] == spec)
        lines.append(
            f"| {spec} | {mine.total()} | "
            + " | ".join(str(mine[v]) for v in ("ACCEPTED", "INCONCLUSIVE", "REJECTED"))
            + " |"
        )
    other = [row for row in rows if row["verdict"] != Verdict.ACCEPTED]
    if other:
        lines += ["", "Not ACCEPTED:", ""]
        lines += [
            f"- {row['mechanism']}, seed {row['seed']}: {row['verdict']}; {'; '.join(row['findings'])}" for row in other
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
