"""Whoever waits for an audit hears what is under way, the attack's parts among it."""

from pathlib import Path

import pytest

import dpaudit
from dpaudit.auditing import _Probed
from dpaudit.contract import Layer, RunConfig
from dpaudit.gate import audit, layers
from dpaudit.gate.watch import PROBE

HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
CONFIG = RunConfig(
    dataset_size=400,
    batch_size=40,
    expected_batch=40.0,
    epochs=1,
    steps_per_epoch=10,
    max_grad_norm=1.0,
    target_epsilon=1.0,
    target_delta=1e-5,
    noise_multiplier=0.25,
    parameter_shapes=((4, 3), (4,)),
)


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seconds: list[tuple[int, int]] = []

    def begin(self, text: str) -> None:
        self.begun.append(text)

    def advance(self, done: int, total: int) -> None:
        if self.begun[-1].startswith("empirical"):
            self.seconds.append((done, total))


def test_the_parts_of_an_audit_are_told_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "ATTACK_SECONDS", 3.0)
    heard = Heard()
    audit(str(HONEST), CONFIG, layers=(Layer.EMPIRICAL, Layer.REPLAY), watch=heard)
    assert heard.begun[0] == "probe"
    attack = [text for text in heard.begun if text.startswith("empirical, ")]
    assert attack[:2] == ["empirical, step: pilot", "empirical, step: test"]
    assert heard.begun[-1] == "replay"
    assert "static" not in heard.begun
    assert heard.seconds
    assert all(0 <= done <= total == 3 for done, total in heard.seconds)


def test_the_python_interface_passes_on_the_probe_alone() -> None:
    told: list[tuple[int, int]] = []
    report = dpaudit.audit(
        str(HONEST), CONFIG, layers=["replay"], progress=lambda done, total: told.append((done, total))
    )
    assert report.sigma.measured
    assert told
    assert {total for _, total in told} == {CONFIG.total_steps}
    told.clear()
    probed = _Probed(lambda done, total: told.append((done, total)))
    for part, count in ((PROBE, 1), ("static", 1), ("empirical, step: test", 1)):
        probed.begin(part)
        probed.advance(1, 2)
        assert len(told) == count
