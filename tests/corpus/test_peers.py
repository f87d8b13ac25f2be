"""The games of peers' checks are fair, and a raise is counted as what it is."""

import os
import time

import pytest
import torch

from . import peer_games, peers, peers_page
from .configs import config
from .peer_games import MechanismRaised, UnfairGame, Watched, watched_maker
from .run import specimens

RUN = config("default")


class _Recording(peers.WithoutNoise):
    """Keeps what it is handed."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.calls = []

    def clip_and_noise(self, per_sample_grads, step, epoch):
        self.calls.append((tuple(tuple(grad.shape) for grad in per_sample_grads), step, epoch))
        released = super().clip_and_noise(per_sample_grads, step, epoch)
        for grad in per_sample_grads:
            assert grad.is_contiguous()
            grad.zero_()  # a game must not hand over the same storage again
        return released


def _calls(check, run):
    """What each mechanism of a check was handed."""
    made = []

    def kind(*facts):
        made.append(_Recording(*facts))
        return made[-1]

    check(watched_maker(kind, run), run)
    return [one.calls for one in made]


ALL = peers.PEERS | peers.FROM_JAX
NEEDS_JAX = pytest.mark.skipif(not set(peers.FROM_JAX) <= set(peers.peers()), reason="jax-privacy is not installed")


@pytest.mark.parametrize("name", peers.PEERS)
@pytest.mark.parametrize("cell", ["default", "constant", "zero_out", "sparse"])
def test_batches_are_those_that_the_interface_promises(name, cell):
    run = config(cell)
    runs = [calls for calls in _calls(peers.PEERS[name], run) if calls]
    assert runs
    for calls in runs:
        assert [step for _, step, _ in calls] == list(range(len(calls)))
        assert all(epoch == run.epoch_of(step) for _, step, epoch in calls)
        for shapes, _, _ in calls:
            rows = shapes[0][0]
            assert shapes == tuple((rows, *shape) for shape in run.parameter_shapes)
            assert rows == run.realised_rows if run.realised_rows else rows > 0 or cell == "sparse"


def test_the_one_run_game_draws_batches_as_the_run_does():
    """Their mean is B within five standard errors; empty ones come where the run has them, about one in 55."""
    run = config("sparse")
    (calls,) = _calls(peers.one_run, run)
    rows = torch.tensor([shapes[0][0] for shapes, _, _ in calls], dtype=torch.float64)
    assert len(rows) == run.total_steps
    assert abs(float(rows.mean()) - run.batch_size) < 5 * (run.batch_size / len(rows)) ** 0.5
    assert 1 <= int((rows == 0).sum()) <= 30


def test_neighbours_are_those_of_the_relation():
    rows = torch.ones(3, peer_games.WIDTH)
    assert peer_games.without_last(rows, RUN).shape[0] == 2
    for cell in ("zero_out", "constant"):
        neighbour = peer_games.without_last(rows, config(cell))
        assert neighbour.shape == rows.shape
        assert neighbour.norm(dim=1).tolist()[2] == 0.0


def test_an_unfair_batch_is_the_games_fault():
    with pytest.raises(UnfairGame, match="64"):
        watched_maker(peers.WithoutNoise, config("constant"))().release(torch.zeros(6, peer_games.WIDTH))
    watched = watched_maker(peers.WithoutNoise, RUN)()
    watched._next = RUN.total_steps
    with pytest.raises(UnfairGame, match="of a run of 40"):
        watched.release(peer_games.zeros(RUN))


class _Raises(peers.WithoutNoise):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        raise KeyError("lost")


class _Short(peers.WithoutNoise):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        return super().clip_and_noise(per_sample_grads, step, epoch)[:-1]


@pytest.mark.parametrize(
    ("kind", "says"), [(_Raises, "KeyError: 'lost'"), (_Short, "ValueError: released 198 numbers")]
)
def test_what_the_mechanism_raises_is_told_from_what_the_check_raises(kind, says):
    word, _ = peers.judge(peers.unit_test, lambda: watched_maker(kind, RUN), RUN)
    assert word.startswith(f"raised (mechanism): {says}")

    def broken_check(make, run):
        make().release(peer_games.zeros(run))
        return [][0]

    word, _ = peers.judge(broken_check, lambda: watched_maker(peers.WithoutNoise, RUN), RUN)
    assert word == "raised (check): IndexError: list index out of range"


def test_a_constructor_that_raises_is_the_mechanisms():
    with pytest.raises(MechanismRaised, match="ZeroDivisionError"):
        Watched(lambda: 1 / 0, RUN)


def test_a_process_that_ends_and_one_that_hangs_are_raises(monkeypatch):
    one = specimens("c01_divided_twice/clean_blatant.py")[0]
    monkeypatch.setattr(
        peers, "peers", lambda: {"ends": lambda make, run: os._exit(0), "hangs": lambda make, run: time.sleep(60)}
    )
    assert peers.isolated("ends", one)[0] == "raised (mechanism): ended the process"
    assert peers.isolated("hangs", one, limit=0.5)[0].startswith("raised (limit)")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("c01_divided_twice/clean_subtle.py", "one run"),
        ("c08_accumulator_aliased/clean_subtle.py", "one run"),
        ("c16_partial_batch/clean_subtle.py", "unit test"),
        ("sound/numpy.py", "record and replay"),
        ("sound/private_threshold.py", "unit test"),
        ("sound/vmap.py", "one run"),
        pytest.param("sound/vmap.py", "jax-privacy one run", marks=NEEDS_JAX),
    ],
)
def test_sound_specimens_that_unfair_batches_made_raise_pass(path, name):
    assert peers.isolated(name, specimens(path)[0])[0] == "passed"


@pytest.mark.parametrize(
    ("name", "cell", "says"),
    [
        ("unit test", "default", "alarm"),
        ("GDP fit", "default", "alarm"),
        ("record and replay", "default", "passed"),
        ("one run", "sparse", "alarm"),
        pytest.param("jax-privacy GDP", "default", "alarm", marks=NEEDS_JAX),
        pytest.param("jax-privacy one run", "sparse", "alarm", marks=NEEDS_JAX),
    ],
)
def test_the_checks_find_a_release_without_noise_where_they_can(name, cell, says):
    run = config(cell)
    assert peers.judge(ALL[name], lambda: watched_maker(peers.WithoutNoise, run), run)[0] == says


def test_the_page_is_of_every_mechanism_file():
    text = peers_page.PAGE.read_text(encoding="utf-8")
    assert all(f"| {one.path.removesuffix('.py')} |" in text for one in specimens())
    assert f"All {len(specimens())} mechanism files" in text
    assert "raised (check)" not in text


def test_every_check_says_what_it_assumes_and_a_raise_is_neither_caught_nor_a_false_alarm():
    assert set(peers_page.ASSUMES) == set(ALL)
    rows = [
        {"path": "a/broken.py", "sound": False, "said": {"one run": ("raised (mechanism): TypeError", 1.0)}},
        {"path": "a/subtle.py", "sound": False, "said": {"one run": ("alarm", 1.0)}},
        {"path": "a/clean.py", "sound": True, "said": {"one run": ("raised (check): ValueError: no", 3.0)}},
        {"path": "b/clean.py", "sound": True, "said": {"one run": ("alarm", 3.0)}},
    ]
    assert peers_page.summary(rows)[-1] == "| one run | 1 of 2 | 1 of 2 | 1 of 2 | 1 of 2 | 2.00 |"
    (assumes,) = peers_page.assumptions(rows)
    assert assumes.endswith("chance: b/clean.")
    assert peers_page.raises(rows) == [
        "- a/broken (broken), one run: (mechanism): TypeError",
        "- a/clean (sound), one run: (check): ValueError: no",
    ]
