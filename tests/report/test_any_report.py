"""Any report that the contract allows: read back exactly, and shown in every form without an error."""

from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpaudit.contract import (
    RULES,
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
    NonFinite,
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
from dpaudit.report import from_json, to_html, to_index_html, to_json, to_text

NUMBER = st.floats(allow_nan=False)
MAYBE = st.none() | NUMBER
TEXT = st.text(max_size=12)
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT | st.just("inf"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("$inf"), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def brackets(draw: st.DrawFn) -> Bracket:
    lower, upper = draw(MAYBE), draw(MAYBE)
    if lower is not None and upper is not None:
        lower, upper = min(lower, upper), max(lower, upper)
    return Bracket(lower=lower, upper=upper, lower_method=draw(TEXT), upper_method=draw(TEXT))


CLAIMS = st.one_of(  # the benchmark's formula knows no releases before training
    st.builds(dict, calibration=st.sampled_from(Calibration)),
    st.builds(dict, calibration=st.just(Calibration.PLD), preparation=st.lists(POSITIVE, max_size=3).map(tuple)),
)
CONFIGS = st.builds(
    lambda claim, **named: RunConfig(**claim, **named),
    claim=CLAIMS,
    dataset_size=st.integers(10_000, 10**7),
    batch_size=st.integers(1, 50),
    expected_batch=st.floats(1, 10_000),
    epochs=st.integers(1, 50),
    steps_per_epoch=st.integers(1, 200),
    max_grad_norm=POSITIVE,
    target_epsilon=POSITIVE,
    target_delta=st.floats(0, 0.5),
    noise_multiplier=POSITIVE,
    cell=st.builds(
        Cell,
        sampler=st.sampled_from(Sampler),
        relation=st.sampled_from(Relation),
        rows=st.sampled_from(Rows),
        nonfinite=st.sampled_from(NonFinite),
    ),
    parameter_shapes=st.lists(st.lists(st.integers(0, 99), max_size=3).map(tuple), max_size=3).map(tuple),
    name=TEXT,
)
RATE = st.floats(0, 1)
RATES = st.tuples(RATE, RATE)
CURVES = st.builds(
    CurvesRecord,
    spend=st.lists(
        st.builds(SpendRow, steps=st.integers(1, 10**6), reported=MAYBE, lower=MAYBE, upper=MAYBE), max_size=3
    ).map(tuple),
    tradeoffs=st.lists(
        st.builds(
            AttackCurve,
            place=st.sampled_from(["step", "run"]),
            words=TEXT,
            claimed=st.lists(RATES, max_size=3).map(tuple),
            points=st.lists(
                st.builds(
                    AttackPoint,
                    false_positive=RATE,
                    false_negative=RATE,
                    limits=st.none() | RATES,
                    level=st.floats(1e-9, 1),
                ),
                max_size=2,
            ).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)
REPORTS = st.builds(
    AuditReport,
    mechanism=TEXT,
    class_name=TEXT,
    source_sha256=TEXT,
    config=CONFIGS,
    verdict=st.sampled_from(Verdict),
    reasons=st.lists(TEXT, max_size=2).map(tuple),
    layers=st.lists(
        st.builds(
            LayerRecord,
            layer=st.sampled_from(Layer),
            outcome=st.sampled_from(Outcome),
            ran=st.booleans(),
            summary=TEXT,
            seconds=NUMBER,
        ),
        max_size=2,
    ).map(tuple),
    findings=st.lists(
        st.builds(
            Finding,
            rule=st.sampled_from(sorted(RULES)),
            severity=st.sampled_from(Severity),
            strength=st.sampled_from(Strength),
            message=TEXT,
            file=TEXT,
            line=st.none() | st.integers(1, 10**6),
            evidence=st.dictionaries(TEXT | st.just("$inf"), PLAIN, max_size=3),
            rerun=TEXT,
        ),
        max_size=2,
    ).map(tuple),
    epsilon=st.builds(
        EpsilonRecord,
        target=NUMBER,
        delta=NUMBER,
        reported=MAYBE,
        reported_bracket=st.none() | brackets(),
        replayed=brackets(),
        empirical_lower=MAYBE,
    ),
    sigma=st.builds(
        SigmaRecord,
        reported=st.lists(MAYBE, max_size=5).map(tuple),
        measured=st.lists(MAYBE, max_size=5).map(tuple),
        classes=st.lists(st.sampled_from(NoiseClass), max_size=6).map(tuple),
        effective=brackets(),
    ),
    accuracy=st.lists(
        st.builds(AccuracyRow, dataset=TEXT, mean=NUMBER, std=MAYBE, runs=st.integers(), best_on_test_mean=MAYBE),
        max_size=2,
    ).map(tuple),
    honest_noise_factor=MAYBE,
    assumptions=st.lists(TEXT, max_size=2).map(tuple),
    blind_spots=st.lists(TEXT, max_size=2).map(tuple),
    command=TEXT,
    seconds=NUMBER,
    created=TEXT,
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    expected=st.lists(st.sampled_from(Verdict), max_size=2).map(tuple),
    pair=TEXT,
    curves=CURVES,
).map(
    lambda report: replace(
        report,
        verdict=Verdict.INCONCLUSIVE
        if report.verdict is Verdict.ACCEPTED and report.lacks_for_acceptance
        else report.verdict,
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(REPORTS, max_size=2))
def test_round_trip_is_exact_and_byte_stable(reports: list[AuditReport]) -> None:
    text = to_json(reports)
    again = from_json(text)
    assert again == tuple(reports)
    assert to_json(again) == text
    assert text.isascii()
    assert text.endswith("}\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(REPORTS, min_size=1, max_size=2))
def test_every_form_of_any_report_can_be_made(reports: list[AuditReport]) -> None:
    for page in (*map(to_html, reports), to_index_html(reports, ["page.html"] * len(reports))):
        page.encode("utf-8")
        HTMLParser().feed(page)
        assert page.endswith("</html>\n")
    for ascii_only in (False, True):
        text = to_text(reports, ascii_only=ascii_only)
        text.encode("ascii" if ascii_only else "utf-8")
        assert text.endswith("\n")
