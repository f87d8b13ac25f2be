"""The gate's folding of layers, with the layers replaced by what they may answer: nothing missing, broken or odd is a pass."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dpaudit.contract import (
    AuditBrokenError,
    Bracket,
    Cell,
    Finding,
    Layer,
    LayerRecord,
    Measurement,
    NoiseClass,
    NonFinite,
    Outcome,
    RunConfig,
    Sampler,
    Severity,
    StaticResult,
    Strength,
    UsageError,
)
from dpaudit.gate import layers as gate_layers
from dpaudit.gate import limits, plan_layers
from dpaudit.gate.layers import broken_measurement, run_layers
from dpaudit.probe import MechanismSource
from dpaudit.properties.result import PropertyResult, WorstContribution

CONFIG = RunConfig(
    dataset_size=1000, batch_size=50, expected_batch=50.0, epochs=1, steps_per_epoch=4, max_grad_norm=1.0, target_epsilon=3.0,
    target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((2,),),
)  # fmt: skip
MEASURED = Measurement(
    outcome=Outcome.PASSED, reported=(1.0,) * 4, measured=(1.0,) * 4, classes=(NoiseClass.CLEAN,) * 4, demonstrated=True,
    pair="a pair", findings=(), seconds=0.25,
)  # fmt: skip
REFUSAL = Finding(rule="DPA101", severity=Severity.MAJOR, strength=Strength.HEURISTIC, message="no noise", file="m.py")
PROVED = StaticResult(sigma_effective=(1.0, 0.9, 1.0, 1.0), refusal=None, seconds=0.5)
FOUND = PropertyResult(
    outcome=Outcome.PASSED, summary="nothing", findings=(), seconds=0.5,
    worst_contribution=WorstContribution(noise_multiplier=1.0, reported=1.0, pair="a pair"),
)  # fmt: skip


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("class DPMechanism:\n    def clip_and_noise(self, per_sample_grads, step, epoch): ...\n")
    from dpaudit.probe import load_source

    return load_source(str(path))


@pytest.fixture
def run(monkeypatch, source: MechanismSource):
    asked: dict[str, float] = {}

    def begin(
        *,
        static=PROVED,
        found=FOUND,
        measurement=MEASURED,
        layers=(Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY),
        **more,
    ):
        def answer(name, value):
            def call(*arguments, time_limit=None, **rest):
                asked[name] = time_limit
                if isinstance(value, Exception):
                    raise value
                return value

            return call

        monkeypatch.setattr(gate_layers, "analyse", answer("static", static))
        monkeypatch.setattr(gate_layers, "search", answer("properties", found))
        runs = run_layers(source, CONFIG, measurement, layers, (), command="again", **more)
        return runs, {record.layer: record for record in runs.records}

    begin.asked = asked
    return begin


def test_all_layers_are_recorded_in_order_and_what_they_found_is_kept(run):
    runs, records = run()
    assert tuple(records) == tuple(Layer)
    assert [records[layer].outcome for layer in (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY)] == [Outcome.PASSED] * 3
    assert records[Layer.STATIC].summary == "noise multiplier at least 0.9 at every step, for all inputs"
    assert records[Layer.STATIC].seconds == 0.5
    assert records[Layer.REPLAY].seconds >= 0.25
    assert records[Layer.EMPIRICAL] == LayerRecord(
        layer=Layer.EMPIRICAL, outcome=Outcome.NOT_APPLICABLE, ran=False, summary="not among the layers asked for"
    )
    assert all(records[layer].ran for layer in (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY))
    assert runs.worst_found == 1.0
    assert runs.effective.lower == 0.9
    assert runs.replayed.lower is not None
    assert 0 < runs.replayed.lower < runs.replayed.upper


@pytest.mark.parametrize("layer", [Layer.STATIC, Layer.PROPERTIES])
def test_a_layer_that_crashes_is_recorded_and_the_others_go_on(run, layer):
    crash = {("static" if layer is Layer.STATIC else "found"): RuntimeError("broken")}
    runs, records = run(**crash)
    assert records[layer].outcome is Outcome.ERRORED
    assert records[layer].ran
    assert records[layer].summary == "RuntimeError: broken"
    assert 0 <= records[layer].seconds < 60
    assert any(finding.rule == "DPA001" and finding.severity is Severity.MAJOR for finding in runs.findings)
    assert records[Layer.REPLAY].ran
    if layer is Layer.STATIC:
        assert runs.replayed.upper is None


def test_a_comparison_of_layers_that_crashes_is_recorded(run, monkeypatch):
    def crash(*arguments, **more):
        raise RuntimeError("broken")

    monkeypatch.setattr(gate_layers, "contradictions", crash)
    runs, _ = run()
    (finding,) = (finding for finding in runs.findings if finding.rule == "DPA001")
    assert "the comparison of layers of dpaudit crashed: RuntimeError: broken" in finding.message


def test_a_usage_error_passes_through(run):
    with pytest.raises(UsageError, match="no such cell"):
        run(static=UsageError("no such cell"))


def test_a_refusal_is_inconclusive_and_named_once(run):
    for findings in ((), (REFUSAL,)):
        refused = StaticResult(
            sigma_effective=None, refusal=REFUSAL, findings=findings, conditional="If it were public, 1."
        )
        runs, records = run(static=refused)
        assert records[Layer.STATIC].outcome is Outcome.INCONCLUSIVE
        assert records[Layer.STATIC].summary == "refused: no noise If it were public, 1."
        assert [finding.rule for finding in runs.findings].count("DPA101") == 1
        assert runs.replayed.upper is None


def test_the_probe_s_outcome_bounds_that_of_replay(run):
    for outcome in (Outcome.INCONCLUSIVE, Outcome.ERRORED, Outcome.VIOLATED):
        _, records = run(measurement=replace(MEASURED, outcome=outcome))
        assert records[Layer.REPLAY].outcome is outcome


def test_less_noise_seen_than_proved_is_a_contradiction(run):
    worst = WorstContribution(noise_multiplier=0.5, reported=1.0, pair="a pair")
    runs, _ = run(found=replace(FOUND, worst_contribution=worst))
    assert "DPA002" in {finding.rule for finding in runs.findings}
    runs, records = run(found=replace(FOUND, worst_contribution=None))
    assert runs.worst_found is None
    assert records[Layer.PROPERTIES].outcome is Outcome.PASSED
    assert "DPA002" not in {finding.rule for finding in runs.findings}
    runs, _ = run(measurement=replace(MEASURED, measured=(1.0, 0.8, 1.0, 1.0)))
    assert "DPA002" in {finding.rule for finding in runs.findings}


def test_the_layers_get_their_time(run):
    run()
    assert run.asked == {"static": 60.0 + 4 / 20, "properties": gate_layers.DEFAULT_TIME_LIMIT}
    run(time_limit=7.0)
    assert run.asked == {"static": 7.0, "properties": 7.0}


def test_a_layer_that_was_not_chosen_is_not_run(run):
    runs, records = run(layers=(Layer.REPLAY,))
    assert not records[Layer.STATIC].ran
    assert not records[Layer.PROPERTIES].ran
    assert run.asked == {}
    assert runs.static is None


def test_no_attack_is_played_on_what_cannot_run(run):
    for rule in ("DPA001", "DPA012", "DPA013", "DPA014"):
        finding = Finding(rule=rule, severity=Severity.MAJOR, strength=Strength.PROOF, message="ended", file="m.py")
        _, records = run(
            measurement=replace(MEASURED, findings=(finding,)), layers=(Layer.STATIC, Layer.EMPIRICAL, Layer.REPLAY)
        )
        assert records[Layer.EMPIRICAL].outcome is Outcome.INCONCLUSIVE
        assert not records[Layer.EMPIRICAL].ran
        assert rule in records[Layer.EMPIRICAL].summary


def test_findings_of_replay_lead_and_those_of_records_are_held_against_proofs(run):
    attack = Finding(rule="DPA301", severity=Severity.CRITICAL, strength=Strength.PROOF, message="refuted", file="m.py")
    minor = replace(REFUSAL, severity=Severity.MINOR)
    runs, _ = run(static=replace(PROVED, findings=(minor,)), told=(attack,))
    rules = [finding.rule for finding in runs.findings]
    assert rules.index("DPA101") < rules.index("DPA301") < rules.index("DPA002")
    over = replace(MEASURED, reported=(2.0,) * 4)
    runs, _ = run(static=replace(PROVED, findings=(minor,)), measurement=over)
    rules = [finding.rule for finding in runs.findings]
    assert rules[0].startswith("DPA4")
    assert rules[-1] == "DPA101"


def test_a_probe_that_failed_says_nothing_about_any_step(source):
    measurement = broken_measurement(source, CONFIG, ValueError("lost"))
    assert measurement.outcome is Outcome.ERRORED
    assert measurement.reported == measurement.measured == (None,) * 4
    assert set(measurement.classes) == {NoiseClass.UNRESOLVED}
    assert not measurement.demonstrated
    assert measurement.seconds == 0
    (finding,) = measurement.findings
    assert (finding.rule, finding.severity, finding.strength) == ("DPA001", Severity.MAJOR, Strength.PROOF)
    assert "the probe of dpaudit crashed: ValueError: lost" in finding.message


def test_names_of_layers():
    assert plan_layers(None) == tuple(Layer)
    assert plan_layers("replay, static,replay") == (Layer.REPLAY, Layer.STATIC)
    for names, words in (("sttic", "did you mean 'static'"), ("", "got ''"), ("zzz", "got 'zzz'$")):
        with pytest.raises(UsageError, match=words):
            plan_layers(names)


def _record(layer: Layer, outcome: Outcome = Outcome.PASSED, ran: bool = True) -> LayerRecord:
    return LayerRecord(layer=layer, outcome=outcome, ran=ran, summary="")


def test_what_is_assumed_depends_on_the_run(monkeypatch):
    monkeypatch.setattr(limits, "barrier", lambda: ())
    plain = tuple(limits.assumptions(CONFIG, ledgers=0))
    assert plain[0] == (
        "The question: sampler poisson, relation add_remove, rows sampled; q = 0.05, 4 steps, delta 1e-05."
    )
    assert any("DECLARED sampler" in text for text in plain)
    assert any("rows with a NaN or an Inf" in text for text in plain)
    assert not any(
        "incomplete" in text or "in a fresh uniform order" in text or "Before the first" in text for text in plain
    )
    recorded = tuple(limits.assumptions(CONFIG, ledgers=2))
    assert any(text.startswith("2 training run(s)") for text in recorded)
    assert not any("DECLARED sampler" in text for text in recorded)
    raw = replace(CONFIG, cell=Cell(nonfinite=NonFinite.RAW), preparation=(30.0, 4.5))
    monkeypatch.setattr(limits, "barrier", lambda: ("no Landlock", "no filter"))
    raw_texts = tuple(limits.assumptions(raw, ledgers=0))
    assert any("noise multipliers 30, 4.5; that is counted" in text for text in raw_texts)
    once = limits.assumptions(replace(CONFIG, preparation=(30.0,)), ledgers=0)
    assert any("noise multiplier 30; that is counted" in text for text in once)
    assert not any("rows with a NaN or an Inf" in text for text in raw_texts)
    assert any("noise multipliers 30, 4.5" in text for text in raw_texts)
    assert any("incomplete on this machine: no Landlock; no filter." in text for text in raw_texts)
    shuffled = replace(CONFIG, cell=replace(CONFIG.cell, sampler=Sampler.SHUFFLE))
    assert any("in a fresh uniform order" in text for text in limits.assumptions(shuffled, ledgers=0))


def test_what_could_not_be_seen_depends_on_the_layers():
    everything = tuple(limits.blind_spots([_record(layer) for layer in Layer], ledgers=1))
    assert everything == ()
    nothing = tuple(limits.blind_spots([], ledgers=0))
    assert len(nothing) == 5
    for layer, words in (
        (Layer.STATIC, "No static bound"), (Layer.PROPERTIES, "No property search"), (Layer.EMPIRICAL, "No attack was run"),
    ):  # fmt: skip
        records = [_record(other, ran=other is not layer) for other in Layer]
        if layer is Layer.STATIC:
            records = [_record(other, Outcome.INCONCLUSIVE if other is layer else Outcome.PASSED) for other in Layer]
        spots = tuple(limits.blind_spots(records, ledgers=1))
        assert any(text.startswith(words) for text in spots)
        assert len(spots) == (2 if layer is Layer.STATIC else 1)
    (spot,) = limits.blind_spots([_record(layer) for layer in Layer], ledgers=0)
    assert "real training run" in spot


def test_a_static_result_is_a_bound_or_a_refusal():
    for sigmas, refusal in ((None, None), ((1.0,), REFUSAL), ((math.nan,), None), ((1.0, -1.0), None)):
        with pytest.raises(ValueError, match="static result"):
            StaticResult(sigma_effective=sigmas, refusal=refusal)
    bound = StaticResult(sigma_effective=(0.0, math.inf), refusal=None)
    assert (bound.sigma_effective, bound.seconds) == ((0.0, math.inf), 0)


def test_a_bracket_refuses_what_contradicts_itself():
    for lower, upper in ((math.nan, 1.0), (1.0, math.nan), (2.0, 1.0)):
        with pytest.raises(AuditBrokenError, match="bracket"):
            Bracket(lower=lower, upper=upper)
    assert Bracket(lower=1.0, upper=1.0).relative_width == 0
    assert Bracket(lower=1.0, upper=4.0).relative_width == 0.75
    assert Bracket(lower=0.0, upper=0.0).relative_width == 0
    for lower, upper in ((None, 1.0), (1.0, None), (1.0, math.inf)):
        assert Bracket(lower=lower, upper=upper).relative_width == math.inf
    kept = Bracket(lower=1.0, upper=2.0, lower_method="pair", upper_method="static").without_upper("why")
    assert (kept.lower, kept.upper, kept.lower_method, kept.upper_method) == (1.0, None, "pair", "why")


def test_what_every_verdict_takes_for_granted_is_always_said(monkeypatch):
    monkeypatch.setattr(limits, "barrier", lambda: ())
    said = tuple(limits.assumptions(CONFIG, ledgers=1))
    for words in (
        "The random generators of torch", "The last bits of the noise", "Choosing hyper-parameters",
        "The author may be mistaken",
    ):  # fmt: skip
        assert sum(text.startswith(words) for text in said) == 1


def test_sentences_are_told_once_with_a_capital_and_a_stop():
    told = ("no bound", "No bound.", "why?", "so!", "", "no bound", "it ends here.")
    assert limits.sentences(told) == ("No bound.", "Why?", "So!", ".", "It ends here.")


BROKEN_RULE = Finding(rule="DPA201", severity=Severity.CRITICAL, strength=Strength.PROOF, message="moved", file="m.py")
PLAYED = SimpleNamespace(
    findings=(Finding(rule="DPA301", severity=Severity.MAJOR, strength=Strength.STATISTICAL, message="beaten", file="m.py"),),
    epsilon_lower=0.75, summary="two places", seconds=3.0, longer=(), outcome=Outcome.INCONCLUSIVE,
)  # fmt: skip


class Heard:
    """Keeps what an audit tells."""

    def __init__(self):
        self.told = []

    def begin(self, text):
        self.told.append(text)

    def advance(self, done, total):
        self.told.append((done, total))


def test_what_the_property_search_found_is_kept(run):
    runs, records = run(found=replace(FOUND, findings=(BROKEN_RULE,), outcome=Outcome.VIOLATED))
    assert BROKEN_RULE in runs.findings
    assert records[Layer.PROPERTIES].outcome is Outcome.VIOLATED


def test_findings_of_the_static_layer_come_before_those_of_the_search_and_replay_leads(run):
    minor = replace(REFUSAL, severity=Severity.MINOR)
    runs, _ = run(static=replace(PROVED, findings=(minor,)), found=replace(FOUND, findings=(BROKEN_RULE,)))
    rules = [finding.rule for finding in runs.findings]
    assert rules.index("DPA101") < rules.index("DPA201")


def test_a_refusal_says_no_more_than_there_is(run):
    _, records = run(static=StaticResult(sigma_effective=None, refusal=REFUSAL))
    assert records[Layer.STATIC].summary == "refused: no noise"


def test_an_attack_is_told_with_its_cost_and_what_a_longer_one_would_be(run, monkeypatch):
    asked = {}

    def attack(source, config, measurement, **options):
        asked.update(options)
        for what, spent in (("pilot", 0.2), ("pilot", 1.4), ("test", 2.6)):
            options["progress"](what, spent, 60.0)
        return PLAYED

    monkeypatch.setattr(gate_layers, "attack", attack)
    monkeypatch.setattr(gate_layers, "attack_curves", lambda *arguments: ())
    heard = Heard()
    runs, records = run(layers=(Layer.EMPIRICAL, Layer.REPLAY), watch=heard)
    assert (asked["budget_seconds"], asked["effort"]) == (60.0, gate_layers.GATE)
    record = records[Layer.EMPIRICAL]
    assert (record.outcome, record.ran, record.seconds) == (Outcome.INCONCLUSIVE, True, 3.0)
    assert record.summary == "two places (3 s; at most 60 s are spent)"
    assert PLAYED.findings[0] in runs.findings
    assert runs.empirical_lower == 0.75
    assert heard.told == [
        "empirical", "empirical, pilot", (0, 60), (1, 60), "empirical, test", (3, 60), "replay",
    ]  # fmt: skip


def test_an_attack_that_nobody_watches_is_played_all_the_same(run, monkeypatch):
    def attack(source, config, measurement, **options):
        assert options["progress"] is None
        return SimpleNamespace(**{**vars(PLAYED), "longer": ("play on", "or so")})

    monkeypatch.setattr(gate_layers, "attack", attack)
    monkeypatch.setattr(gate_layers, "attack_curves", lambda *arguments: ())
    _, records = run(layers=(Layer.EMPIRICAL,))
    assert records[Layer.EMPIRICAL].summary.endswith("are spent). A longer attack: play on; or so")


def test_only_a_ledger_of_this_very_configuration_is_compared(monkeypatch, source):
    monkeypatch.setattr(gate_layers, "compare_ledger", lambda config, measurement, record, **rest: [record.finding])
    mine = SimpleNamespace(config=CONFIG, finding=BROKEN_RULE)
    other = SimpleNamespace(config=replace(CONFIG, epochs=2), finding=REFUSAL)
    runs = run_layers(source, CONFIG, MEASURED, (Layer.REPLAY,), (mine, other), command="again")
    assert BROKEN_RULE in runs.findings
    assert REFUSAL not in runs.findings


def test_replay_ends_as_it_concludes_where_the_probe_passed(run):
    _, records = run(measurement=replace(MEASURED, measured=(0.4,) * 4, reported=(0.4,) * 4), layers=(Layer.REPLAY,))
    assert records[Layer.REPLAY].outcome is Outcome.VIOLATED
