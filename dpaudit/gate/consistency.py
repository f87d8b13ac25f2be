"""Layers against each other: a measurement outside a proved bound is a defect of dpaudit, and is reported as such."""

from collections.abc import Iterator, Sequence

from dpaudit.contract import Bracket, Finding, Measurement, Severity, StaticResult, Strength

ROUNDING = 1e-5
"""Relative gap between a proved lower bound and a measured value that rounding explains (float32 contributions)."""

SEARCH_ROUNDING = 1e-2
"""The same for the property search, which also runs float32 and half precision rows."""


def contradictions(
    measurement: Measurement, static: StaticResult | None, worst_found: float | None, *, file: str
) -> Iterator[Finding]:
    """Steps at which less noise was measured, or found by the property search, than the static layer proved to be there.

    Args:
        worst_found: smallest noise multiplier that the property search demonstrated at any step, if it ran.
    """
    if static is None or static.sigma_effective is None:
        return
    for step, (proved, seen) in enumerate(zip(static.sigma_effective, measurement.measured, strict=True)):
        if seen is not None and not seen >= proved * (1 - ROUNDING):
            yield _contradiction(
                file, f"step {step}: measured noise multiplier {seen:.9g}, proved at least {proved:.9g}"
            )
            break
    proved = min(static.sigma_effective)
    if worst_found is not None and not worst_found >= proved * (1 - SEARCH_ROUNDING):
        yield _contradiction(
            file, f"the property search found noise multiplier {worst_found:.9g}, proved at least {proved:.9g}"
        )


def refuted_proof(
    findings: Sequence[Finding], replayed: Bracket, target_epsilon: float, *, file: str
) -> Iterator[Finding]:
    """An attack that refuted a budget which the static bound proves to be kept: once in 10^12 audits by chance, so a defect."""
    if replayed.upper is None or not replayed.upper <= target_epsilon:
        return
    for finding in findings:
        if finding.rule == "DPA301":
            yield _contradiction(file, f"epsilon is proved to be at most {replayed.upper:.6g}, but {finding.message}")


def _contradiction(file: str, message: str) -> Finding:
    return Finding(
        rule="DPA002",
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=f"{message}; one of the two is wrong, and this audit decides nothing",
        file=file,
    )
