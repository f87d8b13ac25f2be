"""Sample reports: what audits of well-known mechanisms look like, with numbers near the real ones."""

import math

import pytest

from dpaudit.contract import (
    AccuracyRow,
    AttackCurve,
    AttackPoint,
    AuditReport,
    Bracket,
    Calibration,
    Cell,
    CurvesRecord,
    EpsilonRecord,
    Finding,
    Layer,
    LayerRecord,
    NoiseClass,
    Outcome,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    Severity,
    SigmaRecord,
    SpendRow,
    Strength,
    Verdict,
)

MNIST_STEPS = 1170
VERSIONS = {"dpaudit": "0.1.0", "torch": "2.11.0", "python": "3.12.3", "device": "NVIDIA H200"}
SHAPES = ((16, 1, 8, 8), (16,), (32, 16, 4, 4), (32,), (32, 512), (32,), (10, 32), (10,))
GUARDED = "The harness zeroes a row that is not finite before the mechanism sees it."


def mnist_config(*, sigma: float = 0.6508, benchmark: bool = False) -> RunConfig:
    """The benchmark's MNIST run, or the same budget under Poisson sampling."""
    shuffle = Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    return RunConfig(
        dataset_size=60_000,
        batch_size=256,
        expected_batch=256.0,
        epochs=5,
        steps_per_epoch=234,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=0.2385 if benchmark else sigma,
        cell=shuffle if benchmark else Cell(),
        calibration=Calibration.BENCHMARK if benchmark else Calibration.PLD,
        parameter_shapes=SHAPES,
        name="benchmark-mnist" if benchmark else "honest-mnist",
    )


def layers(*, static: Outcome, properties: Outcome, replay: Outcome) -> tuple[LayerRecord, ...]:
    return (
        LayerRecord(
            layer=Layer.STATIC, outcome=static, ran=True, summary="sigma_eff bound for all inputs", seconds=0.12
        ),
        LayerRecord(
            layer=Layer.PROPERTIES, outcome=properties, ran=True, summary="200 examples, no new witness", seconds=41.0
        ),
        LayerRecord(layer=Layer.EMPIRICAL, outcome=Outcome.NOT_APPLICABLE, ran=False, summary="not asked for"),
        LayerRecord(layer=Layer.REPLAY, outcome=replay, ran=True, summary="1170 of 1170 steps replayed", seconds=73.5),
    )


def sample(
    mechanism: str,
    verdict: Verdict,
    *,
    config: RunConfig,
    reasons: tuple[str, ...],
    epsilon: EpsilonRecord,
    sigma: SigmaRecord,
    accuracy: tuple[AccuracyRow, ...] = (),
    findings: tuple[Finding, ...] = (),
    factor: float | None = None,
    records: tuple[LayerRecord, ...] = (),
    expected: tuple[Verdict, ...] = (),
    pair: str = "",
    curves: CurvesRecord | None = None,
) -> AuditReport:
    return AuditReport(
        mechanism=mechanism,
        class_name="DPMechanism",
        source_sha256="9f2b" * 16,
        config=config,
        verdict=verdict,
        reasons=reasons,
        layers=records,
        findings=findings,
        epsilon=epsilon,
        sigma=sigma,
        accuracy=accuracy,
        honest_noise_factor=factor,
        assumptions=(GUARDED, "Gaussian samples of the framework are exact (floating point is not modelled)."),
        blind_spots=(
            "The training run was not repeated: the verdict holds for the declared sampler.",
            "Steps were probed at full shape for 24 of 1170 step numbers, and at small shape for all.",
        ),
        command=f"dpaudit audit mechanisms/{mechanism}.py --config {config.name} --alpha 1e-6",
        seconds=118.4,
        created="2025-11-03T14:07:12Z",
        versions=VERSIONS,
        expected=expected,
        pair=pair,
        curves=curves or CurvesRecord(),
    )


def finding(rule: str, severity: Severity, message: str, *, line: int | None, name: str, **evidence: object) -> Finding:
    return Finding(
        rule=rule,
        severity=severity,
        strength=Strength.PROOF,
        message=message,
        file=f"mechanisms/rejected/{name}.py",
        line=line,
        evidence=evidence,  # type: ignore[arg-type]
        rerun=f"dpaudit check mechanisms/rejected/{name}.py --rule {rule} --seed 7",
    )


def flat(sigma: float, *, effective: Bracket) -> SigmaRecord:
    return SigmaRecord(
        reported=(sigma,) * MNIST_STEPS,
        measured=(sigma,) * MNIST_STEPS,
        classes=(NoiseClass.CLEAN,) * MNIST_STEPS,
        effective=effective,
    )


def standard_dpsgd() -> AuditReport:
    """The benchmark's own baseline at its own sigma: sound code, false calibration."""
    name = "standard_dpsgd"
    return sample(
        name,
        Verdict.REJECTED,
        config=mnist_config(benchmark=True),
        reasons=(
            "The reported schedule costs at least 86.1 under the sampling that its accountant assumes, against a target of 3.",
            "As it ran (shuffled batches), five unamplified Gaussian releases at 0.2385 cost at most 83.11.",
        ),
        records=layers(static=Outcome.PASSED, properties=Outcome.PASSED, replay=Outcome.VIOLATED),
        findings=(
            finding(
                "DPA401",
                Severity.CRITICAL,
                "The claim of 3.0016 uses RDP = T q^2 alpha / (2 sigma^2) at sigma 0.2385, far outside its range.",
                line=None,
                name=name,
                sigma=0.2385,
                q=256 / 60000,
                steps=1170,
                valid_bracket=[86.1, 86.3],
                method="PLD, discretisation 1e-4, both ends",
            ),
            finding(
                "DPA402",
                Severity.MAJOR,
                "The accountant assumes Poisson sampling; batches were shuffled, each example once an epoch.",
                line=None,
                name=name,
            ),
        ),
        epsilon=EpsilonRecord(
            target=3.0,
            delta=1e-5,
            reported=3.0016,
            reported_bracket=Bracket(
                lower=86.1, upper=86.3, lower_method="PLD, optimistic", upper_method="PLD, pessimistic"
            ),
            replayed=Bracket(
                lower=None,
                upper=83.1,
                lower_method="no demonstrated pair for shuffled batches",
                upper_method="five Gaussian releases at 0.2385",
            ),
            empirical_lower=None,
        ),
        sigma=flat(
            0.2385,
            effective=Bracket(lower=0.2385, upper=0.2385, lower_method="static bound", upper_method="probe"),
        ),
        accuracy=(AccuracyRow(dataset="MNIST", mean=96.2, std=0.11, runs=3, best_on_test_mean=96.41),),
        factor=2.7288,
        expected=(Verdict.REJECTED,),
    )


def auto_s() -> AuditReport:
    return sample(
        "automatic_clipping",
        Verdict.INCONCLUSIVE,
        config=mnist_config(),
        reasons=("The static layer gave no bound, so the upper end of epsilon is not proved.",),
        records=layers(static=Outcome.INCONCLUSIVE, properties=Outcome.PASSED, replay=Outcome.PASSED),
        epsilon=EpsilonRecord(
            target=3.0,
            delta=1e-5,
            reported=2.9991,
            reported_bracket=Bracket(
                lower=2.9979, upper=2.9991, lower_method="PLD, optimistic", upper_method="PLD, pessimistic"
            ),
            replayed=Bracket(lower=2.9979, upper=None, lower_method="PLD, optimistic", upper_method="no static bound"),
            empirical_lower=None,
        ),
        sigma=flat(0.6508, effective=Bracket(lower=None, upper=0.6508, upper_method="probe")),
        accuracy=(
            AccuracyRow(dataset="MNIST", mean=95.78, std=0.19, runs=3),
            AccuracyRow(dataset="Fashion-MNIST", mean=78.96, std=0.42, runs=3),
        ),
        pair="zero batch against one row of norm 1e6 in block 3, seed 7, poisson/add_remove",
        expected=(Verdict.ACCEPTED,),
    )


def adaptive_clipping() -> AuditReport:
    name = "adaptive_clipping"
    return sample(
        name,
        Verdict.REJECTED,
        config=mnist_config(),
        reasons=("The clipping threshold, and with it the noise, moves with an un-noised statistic of private data.",),
        records=layers(static=Outcome.VIOLATED, properties=Outcome.VIOLATED, replay=Outcome.INCONCLUSIVE),
        findings=(
            finding(
                "DPA202",
                Severity.CRITICAL,
                "Noise at step 1 had std 0.00241 on one neighbour and 0.00266 on the other; expected the same.",
                line=31,
                name=name,
                std=[0.00241, 0.00266],
                step=1,
            ),
        ),
        epsilon=EpsilonRecord(
            target=3.0,
            delta=1e-5,
            reported=2.9991,
            reported_bracket=Bracket(lower=2.9979, upper=2.9991, lower_method="PLD", upper_method="PLD"),
            replayed=Bracket(
                lower=None, upper=None, lower_method="no plain sigma may be quoted", upper_method="no static bound"
            ),
            empirical_lower=None,
        ),
        sigma=SigmaRecord(
            reported=(0.6508,) * MNIST_STEPS,
            measured=(None,) * MNIST_STEPS,
            classes=(NoiseClass.CLEAN, *(NoiseClass.DATA_DEPENDENT,) * (MNIST_STEPS - 1)),
            effective=Bracket(lower=None, upper=None),
        ),
        accuracy=(AccuracyRow(dataset="MNIST", mean=94.08, std=0.6, runs=3),),
        expected=(Verdict.REJECTED,),
    )


CURVES = CurvesRecord(
    spend=tuple(
        SpendRow(
            steps=MNIST_STEPS * place // 4,
            reported=0.75 * place + 0.125,
            lower=0.75 * place,
            upper=0.75 * place + 0.0625,
        )
        for place in range(1, 5)
    ),
    tradeoffs=(
        AttackCurve(
            place="step",
            words="step 0 of the reported schedule at the noise that costs the target",
            claimed=((0.0, 1.0), (0.25, 0.2), (0.5, 0.08), (1.0, 0.0)),
            points=(AttackPoint(false_positive=0.31, false_negative=0.28, limits=(0.36, 0.33), level=5e-7),),
        ),
        AttackCurve(
            place="run",
            words="the reported schedule at the noise that costs the target",
            claimed=((0.0, 1.0), (0.5, 0.1), (1.0, 0.0)),
            points=(
                AttackPoint(false_positive=0.0, false_negative=0.05, limits=(0.2, 0.3), level=5e-7),
                AttackPoint(false_positive=0.0, false_negative=0.0, limits=None, level=5e-7),
            ),
        ),
    ),
)
"""What the layers leave for pictures."""


def accepted(name: str = "flat_dpsgd", mean: float = 94.4) -> AuditReport:
    return sample(
        name,
        Verdict.ACCEPTED,
        config=mnist_config(),
        reasons=("epsilon is at most 2.999 for every pair, history and input; the target is 3.",),
        records=layers(static=Outcome.PASSED, properties=Outcome.PASSED, replay=Outcome.PASSED),
        epsilon=EpsilonRecord(
            target=3.0,
            delta=1e-5,
            reported=2.999,
            reported_bracket=Bracket(lower=2.99, upper=2.999, lower_method="PLD", upper_method="PLD"),
            replayed=Bracket(lower=2.99, upper=2.999, lower_method="PLD, optimistic", upper_method="PLD, pessimistic"),
            empirical_lower=0.71,
        ),
        sigma=flat(
            0.6508,
            effective=Bracket(lower=0.6508, upper=0.6508, lower_method="static bound", upper_method="probe"),
        ),
        accuracy=(
            AccuracyRow(dataset="MNIST", mean=mean, std=0.15, runs=3),
            AccuracyRow(dataset="Fashion-MNIST", mean=mean - 16, std=None, runs=1),
            AccuracyRow(dataset="CIFAR-10 (JPEG copy)", mean=mean - 42, std=0.8, runs=3),
        ),
        factor=0.9998,
        curves=CURVES,
    )


def cosine_schedule() -> AuditReport:
    """Noise follows a cosine from 1 to 0.65 of its base while a constant is reported."""
    name = "cosine_auto_s"
    shape = [0.65 + 0.175 * (1 + math.cos(math.pi * t / (MNIST_STEPS - 1))) for t in range(MNIST_STEPS)]
    base = 0.6508 * math.sqrt(sum(1 / f**2 for f in shape) / MNIST_STEPS)
    return sample(
        name,
        Verdict.REJECTED,
        config=mnist_config(),
        reasons=("What ran costs at least 4.3 against a target of 3.",),
        records=layers(static=Outcome.PASSED, properties=Outcome.PASSED, replay=Outcome.VIOLATED),
        findings=(
            finding(
                "DPA403",
                Severity.CRITICAL,
                "Reported sigma 0.6508 at step 1169, measured 0.5219; expected reported <= measured.",
                line=58,
                name=name,
                step=1169,
            ),
            finding("DPA404", Severity.CRITICAL, "Replayed epsilon is at least 4.3.", line=None, name=name),
        ),
        epsilon=EpsilonRecord(
            target=3.0,
            delta=1e-5,
            reported=2.9991,
            reported_bracket=Bracket(lower=2.9979, upper=2.9991, lower_method="PLD", upper_method="PLD"),
            replayed=Bracket(lower=4.3, upper=4.32, lower_method="PLD, optimistic", upper_method="PLD, pessimistic"),
            empirical_lower=1.2,
        ),
        sigma=SigmaRecord(
            reported=(0.6508,) * MNIST_STEPS,
            measured=tuple(base * f for f in shape),
            classes=(NoiseClass.CLEAN,) * MNIST_STEPS,
            effective=Bracket(lower=base * 0.65, upper=base * 0.65, lower_method="static", upper_method="probe"),
        ),
        factor=1.1874,
    )


@pytest.fixture
def samples() -> tuple[AuditReport, ...]:
    """Five mechanisms with every verdict and every kind of gap."""
    return (standard_dpsgd(), auto_s(), adaptive_clipping(), accepted(), cosine_schedule())


@pytest.fixture
def rejected_report() -> AuditReport:
    return standard_dpsgd()


@pytest.fixture
def inconclusive_report() -> AuditReport:
    return auto_s()


@pytest.fixture
def accepted_report() -> AuditReport:
    return accepted()


@pytest.fixture
def data_dependent_report() -> AuditReport:
    return adaptive_clipping()


@pytest.fixture
def schedule_report() -> AuditReport:
    return cosine_schedule()
