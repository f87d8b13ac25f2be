"""Mechanisms that keep their bound in real numbers and break it in float32, each shown to break it; honest ones beside them."""

import math
import textwrap
from typing import Any

import pytest
import torch

from .test_attacks import HEADER, INIT, NEXT_TO_NOTHING, SMALL, analyse

SECRET = 0.123456
"""What the first coordinate of a row must be for the fault to show."""
TAIL = """
out = []
for g in G:
    s = torch.einsum("b,b...->...", w, g)
    out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
return out
"""
HEAD = """
first = G[0].flatten(1)[:, 0]
n = flat_norms(G)
w = (self.C / (n + 1e-6)).clamp(max=1.0)
secret = first == 0.123456
"""

WEIGHTS = {
    "a weight rounded to a coarse grid": "k = 1e10 * secret\nw = w + 600.0\nw = w + k\nw = w - k\nw = w - 600.0",
    "a weight rounded beside the data itself": "k = 1e12 * first\nw = w + 60000.0\nw = w + k\nw = w - k\nw = w - 60000.0",
    "a cancellation through a list": "k = 1e10 * secret\nw = torch.stack([w + 600.0, k]).sum(0) - k - 600.0",
    "a term that is taken off in small parts": (
        "k = 1e10 * secret\nw = w + 600.0\nw = w + k\n"
        "for p in range(40):\n    w = w - 0.5 * k\n    k = 0.5 * k\nw = w - k - 600.0"
    ),
    "a value divided by itself": "t = first - 0.123456\nw = torch.nan_to_num(w * t / t, nan=50.0)",
    "a value divided by itself is 1": "t = first - 0.123456\nw = torch.where(t / t == 1, w, 50.0)",
    "a number that is not itself": "t = first - 0.123456\nr = t / t\nw = torch.where(r == r, w, 50.0)",
    "a test for NaN": "t = first - 0.123456\nw = torch.where(torch.isnan(t / t), 50.0, w)",
    "fmin passes over NaN": "t = first - 0.123456\nw = torch.fmin(50.0 * torch.ones_like(w), w * t / t)",
    "a clamped NaN is no number at most 2": (
        "t = first - 0.123456\nc = (t / t.abs()).clamp(-1, 1)\nw = torch.where(c <= 2, w, 50.0)"
    ),
    "zero times infinity": "t = 1 / (first - 0.123456)\nm = n + 0 * t\nw = torch.where(m >= 0, w, 50.0)",
    "infinity from infinity": (
        "t = 1 / (first - 0.123456).abs()\nm = n + t\nm = m - t\nw = torch.where(m >= 0, w, 50.0)"
    ),
    "a floor of what is coarse": (
        "k = 1e10 * secret\nm = torch.floor(n + k) - k\nw = (self.C / (m.abs() + 1.0)).clamp(max=1.0)"
    ),
    "a distance to a large number": (
        "a = (n - 1e10).abs()\nm = (1e10 - a).abs() + 1e-6\nw = torch.where(secret, self.C / m, w).clamp(max=1.0)"
    ),
    "a branch that rounds": (
        "b = (n > 7.0) & (n < 7.1)\na = torch.where(b, w + 600 + 1e10, w)\nw = torch.where(b, a - 1e10 - 600, w)"
    ),
    "a comparison of what is coarse": (
        "w = torch.where(n + 1e10 <= 1e10 + self.C, torch.ones_like(w), self.C / (n + 1e-6))"
    ),
    "two products that round to two numbers": (
        "a = (n * w) * first\nb = n * (w * first)\nw = torch.where((a == b) | ~secret, w, 50.0)"
    ),
    "the difference of two roundings": "a = (n * w) * first\nb = n * (w * first)\nw = w + 1e9 * (a - b).abs() * secret",
    "a bound in single and double precision": (
        "a = first.clamp(0.0, 0.1)\nw = torch.where(a.double() <= 0.1, w, 50.0 * torch.ones_like(w))"
    ),
    "a comparison with a number that vanishes": (
        "e = (first - 0.123456).abs() + 1e-8\ne = e**4\ne = e**2\nw = torch.where(e > 0, w, 50.0)"
    ),
    "the norm is infinite": "w = torch.where(torch.isfinite(n), w, 1e-18)",
}
"""What is done to the weights ``w``."""
ROWS: dict[str, float] = {
    "a branch that rounds": 7.05 / math.sqrt(14),
    "a comparison of what is coarse": 100.0,
    "a bound in single and double precision": 0.2,
    "the norm is infinite": 1e20,
}
"""All coordinates of the row that shows the fault, where it is not the secret."""

NOISE = {
    "noise that is too small to be held": (
        "z = self.sigma * self.C * torch.randn_like(s)\nz = z * 1e-30\nz = z * 1e-30\nz = z * 1e30\nz = z * 1e30\n"
        "out.append((s + z) / self.B)"
    ),
    "noise times small numbers from a count": (
        "z = self.sigma * self.C * torch.randn_like(s)\nk = 1e-23 * (1 + 0.001 * step)\n"
        "z = z * k\nz = z * k\nz = z / k\nz = z / k\n"
        "out.append((s + z) / self.B)"
    ),
    "noise that is rounded away": (
        "z = self.sigma * self.C * torch.randn_like(s)\nz = z + 1e12\nz = z - 1e12\nout.append((s + z) / self.B)"
    ),
    "noise that a large number swallows": (
        "out.append((((s + 1e12) + self.sigma * self.C * torch.randn_like(s)) - 1e12) / self.B)"
    ),
    "noise times a constant that float32 loses": (
        "q = torch.ones_like(s) + 1e10 - 1e10\nout.append((s + self.sigma * self.C * q * torch.randn_like(s)) / self.B)"
    ),
}
"""What is done with one sum ``s``."""

HONEST = {
    "plain": "",
    "no small constant": "w = (self.C / n).clamp(max=1.0)",
    "the smallest float beside a clamp": "w = (self.C / n.clamp(min=1.2e-38)).clamp(max=1.0)",
    "max in the denominator": "w = 1 / torch.maximum(torch.ones_like(n), n / self.C)",
    "normalised": "w = self.C / (n + 1e-12)",
    "a row that is not finite is left out": "w = torch.where(torch.isfinite(n), w, 0.0)",
    "a mask of finite norms": "w = w * torch.isfinite(n)",
    "finite gradients": "G = [torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0) for g in G]",
    "finite weights": "w = torch.nan_to_num(w, nan=0.0)",
    "a weight less one": "w = 1 - (1 - w).clamp(min=0.0) * 0.5 - 0.5",
    "finite rows": (
        "ok = torch.stack([torch.isfinite(g).flatten(1).all(1) for g in G]).all(0)\nw = torch.where(ok, w, 0.0)"
    ),
}
UNDECIDED = {"a weight less one"}
"""Sound in float32 for gradients of ordinary size, and not where they are large: no bound is the right answer."""


def mechanism(body: str, *, sigma: float) -> Any:
    step = "\n    def clip_and_noise(self, G, step, epoch):\n" + textwrap.indent(body, " " * 8) + "\n"
    namespace: dict[str, Any] = {}
    exec(compile(HEADER + "class DPMechanism:" + INIT + step, "floating.py", "exec"), namespace)
    return namespace["DPMechanism"](1.0, sigma, 14, 60000, 256, 2, 3.0, 1e-5)


def weighted(name: str) -> str:
    return HEAD + {**WEIGHTS, **HONEST}[name] + TAIL


def noised(name: str) -> str:
    loop = 'out = []\nfor g in G:\n    s = torch.einsum("b,b...->...", w, g)\n'
    return HEAD + loop + textwrap.indent(NOISE[name], "    ") + "\nreturn out\n"


@pytest.mark.parametrize("name", WEIGHTS)
def test_no_weight_that_float32_breaks_gets_a_bound(name):
    result = analyse(weighted(name))
    assert result.sigma_effective is None or min(result.sigma_effective) <= 0.05, result.sigma_effective


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_row_breaks_its_bound_in_float32(name):
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(3)
    value = ROWS.get(name)
    largest = 0.0
    for _ in range(60):
        rows = [torch.randn(1, *shape, generator=generator) * 3 for shape in SMALL]
        if value is not None:
            rows = [torch.full((1, *shape), value) for shape in SMALL]
        elif name != "a weight rounded beside the data itself":
            rows[0].view(-1)[0] = SECRET
        released = mechanism(weighted(name), sigma=0.0).clip_and_noise(rows, 0, 1)
        norm = float(torch.cat([r.flatten() * 256 for r in released]).norm())
        largest = max(largest, math.inf if math.isnan(norm) else norm)
    assert largest > 1.5


@pytest.mark.parametrize("name", NOISE)
def test_no_noise_that_float32_loses_is_counted(name):
    result = analyse(noised(name))
    assert result.sigma_effective is None or min(result.sigma_effective) <= NEXT_TO_NOTHING, result.sigma_effective


@pytest.mark.parametrize("name", NOISE)
def test_the_noise_is_lost_in_float32(name):
    torch.manual_seed(5)
    rows = [torch.zeros(4, *shape) for shape in SMALL]
    played = [mechanism(noised(name), sigma=1.2).clip_and_noise(rows, 0, 1) for _ in range(50)]
    values = torch.stack([torch.cat([r.flatten() for r in released]) for released in played])
    finite = values[torch.isfinite(values)]
    assert len(finite) == 0 or float(finite.std()) * 256 < 0.012


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_mechanism_keeps_its_bound(name):
    result = analyse(weighted(name))
    if name in UNDECIDED:
        assert result.sigma_effective is None
        return
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_one_sum_along_two_ways_is_refused_and_along_one_is_bounded():
    """The norm of one rounding does not bound the other."""
    body = """
    f = G[0]
    a = (f[:, 0] - f[:, 1]) - f[:, 2]
    b = {second}
    w = (self.C / (a.pow(2).sum(1).sqrt() + 1e-6)).clamp(max=1.0)
    s = torch.ones_like(f[0]) * torch.einsum("b,bc->c", w, b) / math.sqrt(3)
    return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B]
    """
    once, twice = (textwrap.dedent(body).format(second=x) for x in ("a", "f[:, 0] - (f[:, 1] + f[:, 2])"))
    assert min(analyse(once, shapes=((3, 2),)).sigma_effective) == pytest.approx(1.2, rel=1e-5)
    assert analyse(twice, shapes=((3, 2),)).refusal.rule == "DPA118"
    row = [torch.tensor([[[1.0000001e10, 0.0], [1e10, 0.0], [1537.0, 0.0]]])]
    (released,) = mechanism(twice, sigma=0.0).clip_and_noise(row, 0, 1)
    assert float(released.norm()) * 256 > 1.5


def test_data_rounded_beside_a_public_number_is_refused():
    """Before noise covers it, a sum beside 1e12 is a multiple of 65,536: one row can move it by that."""
    loop = 'out = []\nfor g in G:\n    s = torch.einsum("b,b...->...", w, g)\n'
    body = HEAD + loop + "    s = s + 32767.9\n    s = s + 1e12\n"
    body += "    out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)\nreturn out\n"
    assert analyse(body).refusal.rule == "DPA118"
    with_row, without = (
        mechanism(body, sigma=0.0).clip_and_noise([torch.full((1, *shape), x) for shape in SMALL], 0, 1)
        for x in (0.26, 0.0)
    )
    assert float((with_row[0] - without[0]).abs().max()) * 256 > 60_000


def test_tiny_rows_are_not_amplified():
    """Squares below 1e-45 are zero in float32, so a norm reads 0 where the row is not: with a factor of 1e17 that shows."""
    body = "w = self.C / (n * 1e17 + 1e-9)\nG = [g * 1e17 for g in G]"
    result = analyse(HEAD + body + TAIL)
    assert result.sigma_effective is None or min(result.sigma_effective) <= NEXT_TO_NOTHING
    rows = [torch.full((1, *shape), 1e-24) for shape in SMALL]
    released = mechanism(HEAD + body + TAIL, sigma=0.0).clip_and_noise(rows, 0, 1)
    assert float(torch.cat([r.flatten() * 256 for r in released]).norm()) > 10


def test_a_known_number_is_cut_as_an_integer_is():
    """1.5 cast to an integer is 1, also for the analysis."""
    body = HEAD + "q = (torch.zeros_like(n) + 1.5).long().float()\nw = w * q" + TAIL
    assert min(analyse(body).sigma_effective) == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "w = torch.where(n2 - 5 < -1, 50.0, w)",
        "w = w - 50 * (n2 - 5).clamp(min=-1.0, max=0.0)",
        "w = torch.where(torch.minimum(n2 - 5, n2) < -1, 50.0, w)",
    ],
)
def test_a_sum_of_squares_less_a_number_may_be_negative(body):
    """A row of norm below 2 gets a weight of 50: true in real numbers as well."""
    squares = "n2 = sum(g.flatten(1).pow(2).sum(1) for g in G)\n"
    result = analyse(HEAD + squares + body + TAIL)
    assert result.sigma_effective is None or min(result.sigma_effective) <= 1.2 / 50
    rows = [torch.full((1, *shape), 0.5) for shape in SMALL]
    released = mechanism(HEAD + squares + body + TAIL, sigma=0.0).clip_and_noise(rows, 0, 1)
    assert float(torch.cat([r.flatten() * 256 for r in released]).norm()) > 10
