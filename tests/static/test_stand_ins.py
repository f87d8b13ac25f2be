"""What the analysis puts in place of an object must not be told from it, and nothing that others use may be changed.

Every attack adds a secret row's weight of 50 where the analysis is noticed; all but the stores were once bounded at 1.2.
"""

import pytest

from .test_attacks import analyse

CLIP = "w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)\n"
SECRET = "hidden = torch.where(G[0].flatten(1)[:, 0] == 0.123456, 50.0 * torch.ones_like(w), torch.zeros_like(w))\n"
END = "return noisy(G, w, self.sigma * self.C, self.B)"
NORMAL = "d = torch.distributions.Normal(torch.zeros(5), torch.ones(1))\n"
NOTICES = {
    "has an attribute": 'hasattr(d, "variance")',
    "is an instance": "float(isinstance(d, torch.distributions.Normal))",
    "is of a class": "float(type(d) is torch.distributions.Normal)",
    "a class as a key": "{torch.distributions.Normal: 1.0}.get(type(d), 0.0)",
    "its scale is broadcast": "(d.scale.sum() - 1)",
    "a shape": "[0.0, 1.0][d.scale.numel() > 1]",
    "its text": "max(0, 60 - len(str(d)))",
    "an array's class": "float(type(torch.ones(3).numpy()) is np.ndarray)",
    "a step's class": "{int: 1.0}.get(type(step), 0.0)",
    "a size's class": "{int: 1.0}.get(type(G[0].shape[1]), 0.0)",
    "a float's class": "{float: 1.0}.get(type(float(w.sum())), 0.0)",
}
STORES = {
    "patched and put back": "old = t.clamp\nself.t = t\nself.t.clamp = lambda s, **k: s\nself.t.clamp = old\n",
    "by a comprehension": "old, self.t = t.clamp, t\n[0 for self.t.clamp in [old]]\n",
    "by another self": "keep, self = self, t\nself.clamp = self.clamp\nself = keep\n",
    "deleted": "self.t = t\ndel self.t.clamp\n",
    "in place": "self.t = t\nself.t.extra += 1\n",
    "data of a kept tensor": "self.m = torch.zeros(3)\nself.m.data = w[:1].expand(3)\n",
}


@pytest.mark.parametrize("name", NOTICES)
def test_what_notices_the_analysis_is_refused(name):
    result = analyse(CLIP + SECRET + NORMAL + f"w = w + {NOTICES[name]} * hidden\n" + END)
    assert result.sigma_effective is None


@pytest.mark.parametrize("name", STORES)
def test_nothing_of_another_module_is_changed(name):
    result = analyse(CLIP + "t = torch.Tensor\n" + STORES[name] + END)
    assert result.sigma_effective is None
    assert result.refusal.rule == "DPA106"


@pytest.mark.parametrize("scale", ["-1.0", "0.0", "torch.zeros(2)"])
def test_a_scale_that_torch_refuses_is_not_taken_for_noise(scale):
    draw = f"torch.distributions.Normal(0.0, {scale}).sample()"
    caught = f"import contextlib\nk = 1.0\nwith contextlib.suppress(ValueError):\n    {draw}\n    k = 0.0\n"
    assert analyse(CLIP + SECRET + caught + "w = w + k * hidden\n" + END).sigma_effective is None


def test_the_honest_twins_are_bounded():
    drawn = (
        CLIP
        + "out = []\nfor g in G:\n    s = torch.einsum('b,b...->...', w, g)\n"
        + "    std = torch.full_like(s, self.sigma * self.C)\n"
        + "    out.append((s + torch.distributions.Normal(torch.zeros_like(s), std).rsample()) / self.B)\nreturn out"
    )
    own = CLIP + "self.m = 1.0\nself.t += 1\n" + END
    for honest in (drawn, own):
        result = analyse(honest)
        assert result.refusal is None, result.refusal
        assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)
