"""Membership inference: planted signals are found, nothing is found where there is none, every side must be there."""

import numpy as np
import pytest
from scipy.stats import norm

from dpaudit.contract import UsageError
from dpaudit.empirical.membership import ATTACKS, ShadowModels, scores_of
from dpaudit.empirical.roc import roc
from dpaudit.empirical.scores import checked


def planted(signal: float, *, models: int = 33, examples: int = 300, seed: int = 0) -> ShadowModels:
    """Examples differ much in difficulty and little by membership: what calibration is for."""
    generator = np.random.default_rng(seed)
    member = generator.random((models, examples)) < 0.5
    difficulty = generator.normal(0, 3, examples)
    margins = difficulty + signal * member + generator.normal(0, 0.5, (models, examples))
    population = generator.normal(0, 3, 200) + generator.normal(0, 0.5, (models, 200))
    return ShadowModels(member=member, margins=margins, population=population)


def area(attack: str, models: ShadowModels) -> float:
    values, member = scores_of(attack, models, 0), models.member[0]
    return roc(checked(values[member], values[~member], where=attack)).auc


def test_calibrated_attacks_find_what_the_loss_does_not() -> None:
    models = planted(1.0)
    areas = {attack: area(attack, models) for attack in ATTACKS}
    assert areas["lira_online"] > 0.85
    assert areas["lira_offline"] > 0.85
    assert areas["rmia"] > 0.75
    assert areas["loss"] < 0.65


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_found_where_there_is_nothing(attack: str) -> None:
    areas = [area(attack, planted(0.0, seed=seed)) for seed in range(20)]
    # The standard deviation of an area over 300 examples is 0.033; of the mean over 20 seeds, 0.0075.
    assert abs(np.mean(areas) - 0.5) < 5 * 0.0075


@pytest.mark.parametrize("models", [9, 41])
def test_online_lira_is_the_ratio_of_two_fitted_normals(models: int) -> None:
    """Slow twin, below and above the number of models at which every example has its own variance."""
    shadows = planted(0.7, models=models, examples=20, seed=4)
    found, others = scores_of("lira_online", shadows, 2), [k for k in range(models) if k != 2]
    sides = [
        [[shadows.margins[k, j] for k in others if shadows.member[k, j] == bit] for j in range(20)] for bit in (1, 0)
    ]
    for j in range(20):
        fits = []
        for side in sides:
            if min(len(values) for values in side) < 8:
                squares = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in side)
                std = (squares / (sum(map(len, side)) - 20)) ** 0.5
            else:
                std = np.std(side[j], ddof=1)
            fits.append(norm(np.mean(side[j]), std))
        expected = fits[0].logpdf(shadows.margins[2, j]) - fits[1].logpdf(shadows.margins[2, j])
        assert found[j] == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_a_score_of_the_target_does_not_look_at_its_coins() -> None:
    models = planted(1.0)
    flipped = models.member.copy()
    flipped[0] = ~flipped[0]
    other = ShadowModels(member=flipped, margins=models.margins, population=models.population)
    for attack in ATTACKS:
        assert np.array_equal(scores_of(attack, models, 0), scores_of(attack, other, 0))


def test_what_cannot_be_scored_is_refused() -> None:
    models = planted(1.0, models=16)
    one_sided = models.member.copy()
    one_sided[:, 3] = True
    with pytest.raises(UsageError, match="example 3 is on one side"):
        scores_of("rmia", ShadowModels(member=one_sided, margins=models.margins, population=models.population), 0)
    with pytest.raises(UsageError, match="got 'ghost'"):
        scores_of("ghost", models, 0)
    with pytest.raises(UsageError, match="target below 16"):
        scores_of("loss", models, 16)
    with pytest.raises(UsageError, match="not finite"):
        ShadowModels(member=models.member, margins=models.margins * np.nan, population=models.population)
    with pytest.raises(UsageError, match="at least 4 models"):
        ShadowModels(member=models.member[:2], margins=models.margins[:2], population=models.population[:2])
