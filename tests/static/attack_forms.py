"""Forms in which attacks on the analysis are written, and what shows that an attack is one: it is run where nobody watches."""

import math
import textwrap
import warnings
from typing import Any

import torch

from .test_attacks import SMALL, build

CLIP = """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
n = flat_norms(G)
first = G[0].flatten(1)[:, 0]
"""
TAIL = "\nreturn noisy(G, w, self.sigma * self.C, self.B)\n"


def weighted(change: str) -> str:
    """What is done to the weights ``w`` before the rows are summed."""
    return CLIP + textwrap.dedent(change).strip("\n") + TAIL


def summed(change: str) -> str:
    """What is done with the sum ``s`` of every block and its noise ``z``; it appends to ``out``."""
    head = 'out = []\nfor g in G:\n    s = torch.einsum("b,b...->...", w, g)\n    z = self.sigma * self.C * torch.randn_like(s)\n'
    return CLIP + head + textwrap.indent(textwrap.dedent(change).strip("\n"), "    ") + "\nreturn out\n"


def at_last(change: str) -> str:
    """What is done with the list ``out`` of all sums."""
    head = "out = [torch.einsum('b,b...->...', w, g) for g in G]\n"
    return CLIP + head + textwrap.dedent(change).strip("\n") + "\nreturn [s / self.B for s in out]\n"


def by_rows(change: str) -> str:
    """What is done with the norm ``x`` of row ``i``, a number of Python's; it sets the weight ``c``."""
    body = "c = min(1.0, self.C / (x + 1e-6))\n" + textwrap.dedent(change).strip("\n")
    return (
        CLIP
        + "S = [torch.zeros_like(g[0]) for g in G]\nfor i in range(G[0].shape[0]):\n    x = n[i].item()\n"
        + textwrap.indent(body, "    ")
        + "\n    S = [s + c * g[i] for s, g in zip(S, G)]\n"
        + "return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]\n"
    )


def stateful(init: str = "pass", step: str = "pass", methods: str = "", top: str = "") -> str:
    """A mechanism with more in its constructor, at every step, among its methods, and before its class."""
    return (
        textwrap.dedent(top)
        + "\nclass DPMechanism:\n    #INIT\n"
        + textwrap.indent(textwrap.dedent(init).strip("\n"), " " * 8)
        + "\n"
        + textwrap.indent(textwrap.dedent(methods).strip("\n"), " " * 4)
        + "\n    def clip_and_noise(self, G, step, epoch):\n"
        + textwrap.indent(weighted(step), " " * 8)
    )


def mechanism(body: str, sigma: float) -> Any:
    """An instance, where nobody watches."""
    namespace: dict[str, Any] = {"__name__": "attack"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(build(body), "attack.py", "exec"), namespace)
        return namespace["DPMechanism"](1.0, sigma, 14, 60000, 256, 2, 3.0, 1e-5)


def play(played: Any, rows: list[torch.Tensor], step: int = 0) -> list[torch.Tensor]:
    """One step; the warnings that torch and NumPy give about a way of copying are no failure here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        released: list[torch.Tensor] = played.clip_and_noise(rows, step, 1)
        if hasattr(played, "get_effective_sigma"):
            played.get_effective_sigma(step, 1)
    return released


def rows_of(value: float, rows: int = 1, shapes=SMALL) -> list[torch.Tensor]:
    return [torch.full((rows, *shape), value) for shape in shapes]


def contribution(body: str, value: float = 5.0, *, first: float | None = None, steps: int = 12, shapes=SMALL) -> float:
    """The largest norm of what one row of equal coordinates moves, without noise, over some steps; infinite where it is NaN.

    Args:
        first: the first coordinate of all, where it is another.
    """
    torch.set_num_threads(1)
    largest = 0.0
    played = mechanism(body, 0.0)
    for step in range(steps):
        rows = rows_of(value, shapes=shapes)
        if first is not None:
            rows[0].view(-1)[0] = first
        released = play(played, rows, step)
        norm = float(torch.cat([r.detach().flatten() for r in released]).norm()) * 256
        largest = max(largest, math.inf if math.isnan(norm) else norm)
    return largest


def spread(body: str) -> float:
    """The standard deviation of the noise, times the batch size."""
    torch.set_num_threads(1)
    released = [torch.cat([r.flatten() for r in play(mechanism(body, 1.2), rows_of(0.01, 3))]) for _ in range(30)]
    return float(torch.stack(released).std(dim=0).min()) * 256
