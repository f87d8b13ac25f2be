"""What Python evaluates, in which order, and what it copies: the rewritten source and the stand-ins must do the same.

In every attack the analysis once saw noise, or a clip, that the mechanism does not have where nobody watches.
"""

import pytest

from .attack_forms import at_last, by_rows, contribution, spread, stateful, summed, weighted
from .test_attacks import analyse

ADDED = "s.add_(self.sigma * self.C * torch.randn_like(s))"
WITHOUT_NOISE = {
    "a map that was used up": at_last(
        "zs = map(lambda g: self.sigma * self.C * torch.randn_like(g[0]), G)\nlist(zs)\n[s.add_(z) for s, z in zip(out, zs)]"
    ),
    "a map that nobody asks": at_last(f"map(lambda s: {ADDED}, out)"),
    "a filter that nobody asks": at_last(f"filter(lambda s: {ADDED} is None, out)"),
    "any stops at the first": at_last(f"any({ADDED} is not None for s in out)"),
    "all stops at the first": at_last(f"all({ADDED} is None for s in out)"),
    "the rest of a false chain": at_last(f"2 < 1 < len([{ADDED} for s in out])"),
    "an index before its value": stateful(
        init="self.k = 0",
        methods="def bump(self, z):\n    self.k = 1\n    return z",
        step="""
        out = []
        for s in [torch.einsum('b,b...->...', w, g) for g in G]:
            self.k = 0
            pair = [torch.zeros_like(s), torch.zeros_like(s)]
            pair[self.k] += self.bump(self.sigma * self.C * torch.randn_like(s))
            out.append((s + pair[1]) / self.B)
        self.k = 0
        return out
        """,
    ),
    "a slice of its own": stateful(
        top="def slice(a, b, c):\n    return Ellipsis\n",
        step="""
        out = []
        for g in G:
            s = torch.einsum('b,b...->...', w, g)
            s[9:9] += (self.sigma * self.C * torch.randn_like(s))[9:9]
            out.append(s / self.B)
        return out
        """,
    ),
    "flatten copies": summed(
        "a = s.numpy()\nf = a.flatten()\nf += z.numpy().flatten()\nout.append(torch.from_numpy(a) / self.B)"
    ),
    "astype copies": summed(
        "a = s.numpy()\nf = a.astype(np.float32)\nf += z.numpy()\nout.append(torch.from_numpy(a) / self.B)"
    ),
    "np.array copies": summed("f = np.array(s)\nf += z.numpy()\nout.append(s / self.B)"),
    "torch.tensor copies": summed("c = torch.tensor(s, dtype=torch.float32)\nc += z\nout.append(s / self.B)"),
    "an element is a number": summed(
        """
        a, b = s.reshape(-1).numpy(), z.reshape(-1).numpy()
        for i in range(len(a)):
            x = a[i]
            x += b[i]
        out.append(torch.from_numpy(a).reshape(s.shape) / self.B)
        """
    ),
}
WITHOUT_CLIP = {
    "as_tensor is the same memory": summed(
        "r = s + z\nc = torch.as_tensor(r)\nr.copy_(g.sum(0))\nout.append(c / self.B)"
    ),
    "asarray is the same memory": summed("r = s + z\nc = torch.asarray(r)\nr.copy_(g.sum(0))\nout.append(c / self.B)"),
    "as_tensor of an array": summed(
        "r = (s + z).numpy()\nc = torch.as_tensor(r)\nr[...] = g.sum(0).numpy()\nout.append(c / self.B)"
    ),
    "max is one of the two": summed(
        "r = s + z\nm = max(r.reshape(-1)[0], torch.tensor(-1e30))\nm += g.sum()\nout.append(r / self.B)"
    ),
    "a map that is kept": stateful(
        init="self.it = map(float, [1.0] * 3 + [50.0] * 20)", step="for x in self.it:\n    w = w * x\n    break"
    ),
    "an attribute before its value": stateful(
        init="self.k = 0.0",
        methods="def bump(self):\n    self.k = -49.0\n    return 50.0",
        step="self.k = 1.0\nself.k += self.bump()\nw = w * self.k",
    ),
    "the text of a class": weighted("w = w * (1 + 49 * step.__doc__.startswith('int'))"),
    "the name of a method": weighted("w = w * (1 + 49 * (step.bit_length.__name__ == 'bit_length'))"),
    "an attribute of a stand-in": weighted("w = w * (50 - 49 * hasattr(step, 'formula'))"),
    "the book of a stand-in": weighted("w = w * (50 - 49 * (getattr(step, 'book', None) is not None))"),
    "the class of a shape": weighted("w = w * (1 + 49 * isinstance(G[0].shape, torch.Size))"),
    "the class of an array": weighted("w = w * (1 + 49 * isinstance(n.numpy(), np.ndarray))"),
    "the class of a count": weighted("w = w * (1 + 49 * isinstance((n > 1).sum().item(), int))"),
    "the identity of a truth": by_rows("c = c * (1 + 49 * ((n[i] > 10).item() is True))"),
    "the identity of bool": by_rows("c = c * (1 + 49 * (bool(x > 10) is True))"),
    "the identity of what is known": weighted("w = w * (1 + 49 * ((n >= 0).all().item() is True))"),
    "a square root that raises": by_rows("try:\n    k = math.sqrt(10.0 - x)\nexcept ValueError:\n    c = 1.0"),
    "a logarithm that raises": by_rows("try:\n    k = math.log(10.0 - x)\nexcept ValueError:\n    c = 1.0"),
    "an exponential that raises": by_rows("try:\n    k = math.exp(100 * x)\nexcept OverflowError:\n    c = 1.0"),
    "a power that raises": by_rows("try:\n    k = x ** 300\nexcept OverflowError:\n    c = 1.0"),
    "a division that raises": by_rows(
        "y = G[0][i].flatten()[0].item() - 5.0\ntry:\n    k = 1 / y\nexcept ZeroDivisionError:\n    c = 50.0"
    ),
}
HONEST = {
    "a map of rows": at_last(f"[{ADDED} for s in map(lambda s: s, out)]"),
    "a filter": at_last(f"[{ADDED} for s in filter(lambda s: s is not None, out)]"),
    "any of a list": weighted("w = w * (1 if any([self.C > 0, self.C > 1]) else 50)"),
    "any of a generator": weighted("w = w * (1 if any(c > 0 for c in (self.C, 1.0)) else 50)"),
    "a chain": weighted("w = w * (1.0 if 0 < self.C < len(G) else 50.0)"),
    "a chain of private numbers": by_rows("c = c if 0.0 <= c <= 1.0 else 0.5 * c"),
    "an array added to in place": summed("a = s.numpy()\na += z.numpy()\nout.append(torch.from_numpy(a) / self.B)"),
    "an array by as_tensor": summed("out.append(torch.as_tensor((s + z).numpy()) / self.B)"),
    "a plain question": weighted("w = w if isinstance(w, torch.Tensor) and isinstance(step, int) else 50 * w"),
    "a parent's constructor": """
    class DPMechanism(torch.nn.Module):
        def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                     target_delta):
            super().__init__()
            self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size

        def clip_and_noise(self, G, step, epoch):
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
            assert type(self).__name__ == "DPMechanism"
            return noisy(G, w, self.sigma * self.C, self.B)
    """,
    "whole or broken": by_rows("c = c if isinstance(c, (int, float)) else 50.0"),
    "a division by zero": by_rows("try:\n    c = min(1.0, self.C / x)\nexcept ZeroDivisionError:\n    c = 1.0"),
    "a square root": by_rows("c = min(1.0, self.C / math.sqrt(x * x + 1e-6))"),
    "an index that is added to": stateful(
        init="self.sums = [0.0, 0.0]", step="self.sums[step % 2] += 1.0\nself.t += 1\nw = w * 1.0"
    ),
}


@pytest.mark.parametrize("name", {**WITHOUT_NOISE, **WITHOUT_CLIP})
def test_no_attack_gets_a_bound(name):
    result = analyse({**WITHOUT_NOISE, **WITHOUT_CLIP}[name])
    assert result.sigma_effective is None or min(result.sigma_effective) <= 0.13, result.sigma_effective


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_there_is_no_noise_where_nobody_watches(name):
    assert spread(WITHOUT_NOISE[name]) < 1e-3


@pytest.mark.parametrize("name", WITHOUT_CLIP)
def test_there_is_no_clip_where_nobody_watches(name):
    assert contribution(WITHOUT_CLIP[name]) > 9


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_twins_are_bounded(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-4)
