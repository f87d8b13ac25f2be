"""The tape's identities and replays, and the world's snapshots."""

import math
import random

import numpy as np
import pytest
import torch

from dpaudit.probe.messages import InvalidMessage, decode_problem, decode_result
from dpaudit.probe.noise_map import Dense, Diagonal, structure_of
from dpaudit.probe.tape import Tape, run
from dpaudit.probe.world import UncopyableState, World, root_of


def _recorded(call):
    tape = Tape("nowhere.py")
    out = run(tape, call)
    return out, tape.finish()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(5, dtype=torch.float64),
        lambda: torch.zeros(5, dtype=torch.float64).normal_(2.0, 3.0),
        lambda: torch.normal(torch.arange(5.0, dtype=torch.float64), 2.0),
        lambda: torch.normal(1.0, torch.arange(1.0, 6.0, dtype=torch.float64)),
        lambda: torch.normal(torch.ones(5, dtype=torch.float64), torch.full((5,), 2.0, dtype=torch.float64)),
        lambda: torch.nn.init.normal_(torch.empty(5, dtype=torch.float64), 1.0, 2.0),
    ],
)
def test_a_draw_is_replayed_bit_for_bit_and_overridden_exactly(draw):
    out, recording = _recorded(draw)
    again = run(Tape("nowhere.py", replay=recording), draw)
    assert torch.equal(out, again)
    zero = run(Tape("nowhere.py", replay=recording, latents=0 * recording.latents), draw)
    one = run(Tape("nowhere.py", replay=recording, latents=0 * recording.latents + 1), draw)
    assert torch.allclose(zero + (one - zero) * recording.latents, out, rtol=0, atol=1e-12)
    assert recording.coins == 0


@pytest.mark.parametrize(
    "draw",
    [
        lambda gens: (torch.randn(3, generator=gens[0]), torch.randn(3, generator=gens[1])),
        lambda gens: (
            torch.empty(3).normal_(generator=gens[0]),
            torch.normal(0.0, 1.0, (3,), generator=gens[1]),
        ),
        lambda gens: (torch.randn(3), torch.randn(3, generator=gens[0])),
    ],
)
def test_draws_of_several_generators_are_latents_of_their_own(draw):
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    out, recording = _recorded(lambda: torch.cat(draw(generators)))
    assert [recorded.numel for recorded in recording.draws] == [3, 3]
    assert recording.latents.numel() == 6
    assert torch.allclose(recording.latents.float(), out)


def test_two_generators_in_one_state_draw_one_latent():
    pair = [torch.Generator().manual_seed(7) for _ in range(2)]
    _, recording = _recorded(lambda: [torch.randn(3, generator=generator) for generator in pair])
    assert recording.latents.numel() == 3
    assert recording.shared() is recording.draws[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_on_a_cuda_device_are_latents():
    def draws():
        torch.cuda.manual_seed(3)
        return torch.randn(4, device="cuda") + torch.zeros(4, device="cuda").normal_(0.0, 2.0)

    out, recording = _recorded(draws)
    assert [draw.numel for draw in recording.draws] == [4, 4]
    assert recording.latents.numel() == 8
    zero = run(Tape("nowhere.py", replay=recording, latents=0 * recording.latents), draws)
    assert bool((zero == 0).all())
    again = run(Tape("nowhere.py", replay=recording), draws)
    assert torch.equal(out, again)


def test_reseeded_draws_are_one_latent_and_a_shorter_one_is_a_prefix():
    def draws():
        torch.manual_seed(7)
        first = torch.randn(3)
        torch.manual_seed(7)
        return torch.cat([first, torch.randn(5), torch.randn(2)])

    _, recording = _recorded(draws)
    assert recording.latents.numel() == 7
    assert [draw.offset for draw in recording.draws] == [0, 0, 5]
    assert recording.shared() is recording.draws[1]


def test_other_draws_are_coins():
    _, recording = _recorded(lambda: (torch.rand(3), torch.randperm(4), torch.bernoulli(torch.ones(2))))
    assert recording.coins == 3
    assert recording.draws == []


def test_a_replay_with_other_draws_says_so():
    _, recording = _recorded(lambda: torch.randn(3))
    for call in (lambda: torch.randn(4), lambda: (torch.randn(3), torch.randn(3)), lambda: None):
        tape = Tape("nowhere.py", replay=recording)
        run(tape, call)
        tape.finish()
        assert tape.diverged


def test_low_precision_is_noticed():
    assert _recorded(lambda: torch.ones(2, dtype=torch.float64) * 2)[1].rounding == 1e-9
    assert _recorded(lambda: torch.ones(2, dtype=torch.float64).float())[1].rounding == 3e-6
    assert _recorded(lambda: torch.ones(2).half())[1].rounding == 1e-2


class _Slotted:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1


class _Thing:
    shared: list = []  # noqa: RUF012 - class state on purpose

    def __init__(self):
        kept = [0]

        def count():
            kept[0] += 1
            return kept[0]

        self.count = count
        self.tensor = torch.zeros(2)
        self.view = self.tensor[:1]
        self.nested = {"a": [1, {"b": np.zeros(2)}], "s": {1, 2}}
        self.generator = torch.Generator().manual_seed(1)
        self.rng = np.random.default_rng(2)
        self.random = random.Random(3)
        self.slotted = _Slotted()
        self.method = self.change

    def change(self):
        self.tensor += 1
        self.nested["a"][1]["b"] += 1
        self.nested["s"].add(9)
        self.nested["new"] = 1
        self.slotted.x += 1
        self.new = 5
        _Thing.shared.append(1)
        return (
            self.count(), torch.randn(2, generator=self.generator).tolist(), self.rng.integers(100), self.random.random(),
            torch.rand(1).item(), float(self.view), self.slotted.x, len(_Thing.shared),
        )  # fmt: skip


def test_a_snapshot_puts_everything_back_in_place():
    thing = _Thing()
    world = World(thing, {"__name__": __name__}, frozenset(), True)
    before = world.snapshot()
    first = thing.method()
    after = world.snapshot()
    world.restore(before)
    assert not hasattr(thing, "new")
    assert thing.method() == first
    again = world.snapshot()
    assert after.leaves.keys() == again.leaves.keys()
    assert root_of(after, "self.nested['a'][0]") == "self.nested"
    world.restore(before)
    world.transplant(after, "self.tensor")
    assert thing.tensor.tolist() == [1.0, 1.0]
    assert thing.slotted.x == 1


def test_a_global_is_put_back():
    namespace = {"__name__": "m", "COUNT": 1, "given": [1]}
    world = World(object(), namespace, frozenset({"given"}), False)
    before = world.snapshot()
    namespace["COUNT"] = 2
    namespace["more"] = 3
    world.restore(before)
    assert namespace == {"__name__": "m", "COUNT": 1, "given": [1]}


def test_state_that_cannot_be_saved_is_named():
    thing = _Thing()
    thing.endless = iter(int, 1)
    with pytest.raises(UncopyableState, match=r"self\.endless is a callable_iterator"):
        World(thing, {"__name__": __name__}, frozenset(), False).snapshot()


def test_maps():
    matrix = torch.tensor([[0.0, 2.0], [4.0, 0.0]], dtype=torch.float64)
    form = structure_of(matrix, 1e-12)
    assert isinstance(form, Diagonal)
    fresh = torch.tensor([True, True])
    shift, mu = form.shift(torch.tensor([2.0, 4.0], dtype=torch.float64), 1e-12, fresh)
    assert shift.tolist() == [1.0, 1.0]
    assert mu == pytest.approx(math.sqrt(2))
    mixed = Dense(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    assert mixed.shift(torch.tensor([2.0, 0.0], dtype=torch.float64), 1e-12, fresh)[1] == pytest.approx(math.sqrt(2))
    shared = Dense(torch.tensor([[1.0], [1.0]], dtype=torch.float64))
    assert shared.shift(torch.tensor([1.0, 0.0], dtype=torch.float64), 1e-12, fresh[:1])[1] == math.inf
    assert shared.shift(torch.tensor([1.0, 1.0], dtype=torch.float64), 1e-12, fresh[:1])[1] == pytest.approx(1.0)
    stale = torch.tensor([True, False])
    assert form.shift(torch.tensor([2.0, 4.0], dtype=torch.float64), 1e-12, stale)[1] == math.inf


GOOD = {
    "reported": [0.8], "measured": [0.8], "classes": ["clean"], "demonstrated": True, "pair": "p", "problems": [], "notes": [],
    "checks": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("measured", [math.nan], "measured: expected a number >= 0"),
        ("measured", [-1.0], "measured: expected a number >= 0"),
        ("measured", ["0.8"], "measured: expected a number >= 0"),
        ("measured", [0.8, 0.8], "measured: expected a list of 1"),
        ("reported", [math.inf], "reported: expected a number >= 0"),
        ("reported", [True], "reported: expected a number >= 0"),
        ("classes", ["fine"], "expected a NoiseClass"),
        ("demonstrated", 1, "demonstrated: expected bool"),
        ("pair", "x" * 3000, "pair: expected a text"),
        ("problems", [{}], "rule: expected a text"),
        ("notes", [3], "notes: expected a text"),
        ("checks", [3], "checks: expected a text"),
    ],
)
def test_the_parent_believes_nothing_unchecked(field, value, words):
    assert decode_result(GOOD, 1).measured == (0.8,)
    assert decode_result(GOOD | {"measured": [math.inf]}, 1).measured == (math.inf,)
    with pytest.raises(InvalidMessage, match=words):
        decode_result(GOOD | {field: value}, 1)


def test_a_problem_with_an_unknown_rule_or_line_is_refused():
    good = {"rule": "DPA202", "severity": "critical", "strength": "proof", "message": "m", "line": 3, "evidence": {}}
    assert decode_problem(good).line == 3
    for change in ({"rule": "DPA999"}, {"line": 0}, {"severity": "fatal"}, {"evidence": []}, {"line": True}):
        with pytest.raises(InvalidMessage):
            decode_problem(good | change)
