"""Attributes that a mechanism sets on tensors: they are followed as its own are; on nothing else are any set."""

import pytest

from .test_attacks import MNIST, analyse

OPTIMISER = """
class Optimiser:
    def __init__(self, params, C, sigma, B):
        self.params, self.C, self.sigma, self.B = params, C, sigma, B
        for p in self.params:
            p.summed_grad = None

    def step(self):
        norms = torch.stack([p.grad_sample.reshape(len(p.grad_sample), -1).norm(2, dim=-1) for p in self.params], dim=1)
        factor = (self.C / (norms.norm(2, dim=1) + 1e-6)).clamp(max=1.0)
        for p in self.params:
            mark(p.grad_sample)
            p.summed_grad = torch.einsum("i,i...", factor, p.grad_sample)
        for p in self.params:
            p.grad = (p.summed_grad + {std} * torch.randn_like(p.summed_grad)).view_as(p) / self.B


def mark(tensor):
    tensor._processed = True


class DPMechanism:
    #INIT
        self.optimiser = None

    def clip_and_noise(self, G, step, epoch):
        if self.optimiser is None:
            self.optimiser = Optimiser([torch.zeros(g.shape[1:]).requires_grad_() for g in G], self.C, self.sigma, self.B)
        params = self.optimiser.params
        for p, g in zip(params, G):
            p.grad_sample = g.view_as(g)
        self.optimiser.step()
        update = [p.grad.clone() for p in params]
        for p in params:
            p.grad_sample, p.summed_grad, p.grad = None, None, None
        return update
"""
CLIP = "w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)\n"
TAIL = "return noisy(G, w, self.sigma * self.C, self.B)\n"
COUNTED = {
    "the gradient of a kept tensor": ("self.t.grad = torch.zeros(())", "self.t.grad += 1", "self.t.grad.item()"),
    "in place": ("self.t.grad = torch.zeros(())", "self.t.grad.add_(1)", "float(self.t.grad)"),
    "an attribute": ("t = self.t\n        t.k = 0", "t = self.t\n            t.k += 1", "self.t.k"),
    "a list in an attribute": ("t = self.t\n        t.k = [0]", "t = self.t\n            t.k[0] += 1", "self.t.k[0]"),
}
REFUSED = {
    "a class": "t = torch.Tensor\nt.clamp = t.clamp",
    "a method of a tensor": "w.clamp = lambda **k: 50 * w\nw = w.clamp(max=1.0)",
    "the memory of a tensor": "h = torch.zeros_like(w)\nh.data = w",
    "private data without noise": "t = self.tau_tensor\nt.k = w.sum()",
}


@pytest.mark.parametrize("shapes", [((3, 2), (2,), (2, 3)), MNIST], ids=["small", "mnist"])
def test_an_optimiser_that_works_through_its_parameters_is_bounded(shapes):
    result = analyse(OPTIMISER.replace("{std}", "self.sigma * self.C"), shapes=shapes)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)
    broken = analyse(OPTIMISER.replace("{std}", "0.5 * self.sigma * self.C"), shapes=shapes)
    assert min(broken.sigma_effective) == pytest.approx(0.6, rel=1e-5)


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted_on_a_tensor_is_counted(name):
    """The clip is left away from the eighth step on; nothing but the count on the tensor says when."""
    begin, count, read = COUNTED[name]
    source = f"""
    class DPMechanism:
        #INIT
            self.t = torch.zeros(())
            {begin.replace(chr(10) + "        ", chr(10) + "            ")}

        def clip_and_noise(self, G, step, epoch):
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
            {count}
            if {read} > 7:
                w = 50 * w
            return noisy(G, w, self.sigma * self.C, self.B)
    """
    sigmas = analyse(source).sigma_effective
    assert sigmas[:7] == pytest.approx([1.2] * 7, rel=1e-5)
    assert sigmas[7:] == pytest.approx([0.024] * 5, rel=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_else_is_written_to(name):
    result = analyse(CLIP + REFUSED[name] + "\n" + TAIL)
    assert result.refusal is not None


def test_a_class_cannot_be_changed_in_the_constructor_either():
    source = """
    class DPMechanism:
        #INIT
            t = torch.Tensor
            old = t.clamp
            t.clamp = lambda s, **k: s
            t.clamp = old

        def clip_and_noise(self, G, step, epoch):
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
            return noisy(G, w, self.sigma * self.C, self.B)
    """
    assert analyse(source).refusal.rule == "DPA106"


def test_a_constant_tensor_may_be_kept_at_a_shape_that_is_cut():
    source = """
    class DPMechanism:
        #INIT
            self.kept = None

        def clip_and_noise(self, G, step, epoch):
            if self.kept is None:
                self.kept = [torch.zeros(g.shape[1:]) for g in G]
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
            return noisy(G, w, self.sigma * self.C, self.B)
    """
    result = analyse(source, shapes=MNIST)
    assert result.refusal is None, result.refusal
