"""``dpaudit calibrate PATH``: the multiplier for a mechanism's own schedule, and an error where none can be quoted."""

import json
import math
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.commands.calibrate import _rounded_up
from dpaudit.contract import ExitCode, Measurement, NoiseClass, Outcome, RunConfig, StaticResult
from dpaudit.replay import cost, honest_factor, quotable_schedule

MECHANISMS = Path(__file__).resolve().parents[2] / "mechanisms"
CONFIG = RunConfig(
    dataset_size=60_000,
    batch_size=256,
    expected_batch=256.0,
    epochs=1,
    steps_per_epoch=200,
    max_grad_norm=1.0,
    target_epsilon=1.0,
    target_delta=1e-5,
    noise_multiplier=0.7,
)
SCHEDULE = tuple(0.9 - 0.4 * step / 200 for step in range(200))


def seen(measured: tuple[float | None, ...], *, demonstrated: bool = True) -> Measurement:
    return Measurement(
        outcome=Outcome.PASSED,
        reported=measured,
        measured=measured,
        classes=(NoiseClass.CLEAN,) * len(measured),
        demonstrated=demonstrated,
        pair="",
        findings=(),
        seconds=0.0,
    )


def test_the_factor_is_solved_through_the_whole_schedule() -> None:
    schedule = quotable_schedule(seen(SCHEDULE), None)
    assert schedule is not None
    factor = honest_factor(CONFIG, schedule)
    assert factor is not None
    scaled = quotable_schedule(seen(tuple(factor * sigma for sigma in SCHEDULE)), None)
    assert scaled is not None
    upper = cost(CONFIG, scaled).upper
    assert upper is not None
    assert 1.0 * (1 - 1e-3) <= upper <= 1.0


@pytest.mark.parametrize(
    "measurement",
    [seen((None, *SCHEDULE[1:])), seen((0.0, *SCHEDULE[1:])), seen(SCHEDULE, demonstrated=False), seen(())],
)
def test_nothing_is_quoted_where_no_schedule_is_known(measurement: Measurement) -> None:
    assert quotable_schedule(measurement, None) is None
    assert honest_factor(CONFIG, None) is None


def test_a_proved_schedule_comes_first() -> None:
    proved = StaticResult(sigma_effective=(0.5,) * 200, refusal=None)
    schedule = quotable_schedule(seen((None, *SCHEDULE[1:])), proved)
    assert schedule is not None
    assert (schedule.sigmas, schedule.proved) == ((0.5,) * 200, True)


@pytest.mark.parametrize("value", [1.38685912, 0.0123456789, 250.00001, 2.0])
def test_rounding_is_upwards(value: float) -> None:
    assert value <= _rounded_up(value) <= value * (1 + 1.1e-5)
    assert math.isclose(_rounded_up(_rounded_up(value)), _rounded_up(value), rel_tol=1e-12)


def test_a_mechanism_with_too_little_noise_gets_the_multiplier_that_mends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(MECHANISMS / "rejected" / "noise_decay.py")
    code = main(["calibrate", path, "--preset", "digits", "--epsilon", "6", "--format", "json", "--quiet"])
    record = json.loads(capsys.readouterr().out)
    assert code == ExitCode.ALL_ACCEPTED
    assert record["factor"] == pytest.approx(record["noise_multiplier"] / record["nominal"])
    assert 6 * (1 - 2e-3) <= record["epsilon"][1] <= 6
    assert record["sampler"] == "poisson"
    assert record["relation"] == "add_remove"
    assert record["schedule"] == "proved for all inputs"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "--epsilon", "3"], "expected --delta"),
        (["calibrate", "m.py", "--q", "0.1"], "with a PATH the preset says --q"),
        (
            ["calibrate", "--epsilon", "3", "--delta", "1e-5", "--q", "0.1", "--steps", "3", "--rows", "sampled"],
            "--rows needs",
        ),
        (["calibrate", "no-such-file.py"], "no such file"),
    ],
)
def test_wrong_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == ExitCode.USAGE
    assert message in capsys.readouterr().err
