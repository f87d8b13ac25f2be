"""Bounds of jax-privacy on given scores. Runs in ITS OWN environment: ``python peer_bounds.py FILE.npz DELTA LEVEL``.

``FILE.npz`` has arrays ``inside`` and ``outside`` [games, scores]. Prints one line of JSON: the version and, for each method, a
list with one epsilon for each game. Imports nothing of dpaudit, which needs other versions than jax-privacy does.
"""

import json
import sys
from importlib import metadata

import numpy as np
from jax_privacy import auditing


def main() -> None:
    """Audit every game with every method."""
    data, delta, level = np.load(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    found: dict[str, list[float]] = {"gdp": [], "one_run_fdp": [], "steinke": [], "clopper_pearson": []}
    for inside, outside in zip(data["inside"], data["outside"], strict=True):
        auditor = auditing.CanaryScoreAuditor(inside, outside)
        split = auditing.Split(threshold_estimation_frac=0.2, seed=0)
        found["gdp"].append(float(auditor.epsilon_from_gdp(level, delta)))
        found["one_run_fdp"].append(float(auditor.epsilon_one_run_fdp(level, delta, threshold_strategy=split)))
        found["steinke"].append(float(auditor.epsilon_one_run(level, delta, threshold_strategy=split)))
        found["clopper_pearson"].append(float(auditor.epsilon_clopper_pearson(level, delta, threshold_strategy=split)))
    print(json.dumps({"version": metadata.version("jax-privacy"), "bounds": found}))


if __name__ == "__main__":
    main()
