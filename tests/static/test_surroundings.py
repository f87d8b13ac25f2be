"""Mechanisms that ask where and by whom they are run: an audit on one machine would decide for all others."""

import textwrap

import pytest

from .test_attacks import analyse

HEAD = "w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)\n"
TAIL = "return noisy(G, w, self.sigma * self.C, self.B)\n"

QUESTIONS = [
    "torch.cuda.is_available()",
    "torch.cuda.device_count() > 0",
    "G[0].is_cuda",
    "getattr(G[0], 'is_cuda')",
    "G[0].get_device() >= 0",
    "G[0].device.type == 'cuda'",
    "G[0].device.index is not None",
    "str(G[0].device) != 'cpu'",
    "f'{G[0].device}' != 'cpu'",
    "G[0].device == G[1].device.__class__('cuda')",
    "G[0].device in [None]",
    "{G[0].device: True}[G[0].device]",
    "torch.get_num_threads() > 4",
    "not torch.is_grad_enabled()",
    "torch.is_inference_mode_enabled()",
    "torch.is_autocast_enabled()",
    "torch.are_deterministic_algorithms_enabled()",
    "torch.get_float32_matmul_precision() == 'high'",
    "G[0].requires_grad",
    "not G[0].is_leaf",
    "not G[0].is_contiguous()",
    "G[0].is_inference()",
    "G[0].is_pinned()",
    "G[0].stride()[0] > 10**6",
    "G[0].storage_offset() > 0",
    "G[0].layout != torch.strided",
    "G[0].grad_fn is not None",
    "[self.m] != [G[0].device]",
    "(G[0].device,) in [(self.m,)]",
    "{1: self.m} != {1: G[0].device}",
    "{(self.m,): 1.0}.get((G[0].device,), 50.0) > 1",
    "[(self.m,)].count((G[0].device,)) != 1",
    "max({'a', 'b'}, key=len) == 'c'",
    "[x for x in {'a': 1}.keys().__class__ and set({'a': 1})][0] == 'c'",
    "list({'a', 'b'})[0] == 'c'",
    "list(set(['a', 'b']))[0] == 'c'",
    "[x for x in {'a': 1}.keys() | {'b': 2}.keys()][0] == 'c'",
    "hash('a') % 2 == 7",
    "str(self)[-2] == 'z'",
    "f'{self}'[-2] == 'z'",
    "'%s' % self == 'z'",
    "'{}'.format(self) == 'z'",
    "repr([self]) == 'z'",
    "str(print)[-2] == 'z'",
]

STATEMENTS = {
    "a device that does not meet": "try:\n    x = torch.zeros(1) + G[0].sum(0)\nexcept RuntimeError:\n    w = 50 * w",
    "a handler that raises at times": (
        "try:\n    x = torch.zeros(1) + G[0].sum(0)\nexcept Exception:\n    if step < 0:\n        raise\n    w = 50 * w"
    ),
    "a suppressed error": "import contextlib\nwith contextlib.suppress(RuntimeError):\n    x = torch.zeros(1) + G[0].sum(0)",
    "a sorting of its own": "def sorted(x):\n    return list(x)\nif sorted({'a', 'b'})[0] == 'c':\n    w = w * 50",
    "printed to itself": "print(step, file=self)",
    "warned through a class of its own": "class Told(UserWarning):\n    pass\nimport warnings\nwarnings.warn(str(step), Told)",
    "a log that is listened to": "import logging\nclass H(logging.Handler):\n    pass\nlogging.getLogger('x').addHandler(H())",
    "a hook on a gradient": "self.m = torch.zeros((), requires_grad=True)\nself.m.register_hook(lambda g: g)",
    "a set by a function": "import operator\nx = list(operator.or_({'a': 1}.keys(), {'b': 1}.keys()))",
    "a class pattern": "hit = 1.0\nmatch G[0].device:\n    case torch.device(type='cuda'):\n        hit = 50.0\nw = w * hit",
    "a pattern of a name": "hit = 1.0\nmatch G[0].device:\n    case self.m:\n        hit = 50.0\nw = w * hit",
    "autocast for everybody": "torch.set_autocast_enabled('cpu', True)",
    "gradients watched for everybody": "torch.autograd.set_detect_anomaly(True)",
    "a copy on a GPU, the same memory here": "w = 50 * w\nh = w.cpu()\nh.mul_(0.02)",
    "moved by a text": "w = 50 * w\nh = w.to('cpu')\nh.mul_(0.02)",
    "moved by a keyword": "w = 50 * w\nh = w.to(device='cpu')\nh.mul_(0.02)",
    "moved to another tensor": "w = 50 * w\nh = w.to(torch.zeros(()))\nh.mul_(0.02)",
    "moved to another tensor's device": "w = 50 * w\nh = w.to(torch.zeros(()).device)\nh.mul_(0.02)",
    "moved to a named device": "w = 50 * w\nh = w.to(torch.device('cpu'))\nh.mul_(0.02)",
}

HONEST = {
    "a missing key": "try:\n    k = {'a': 1.0}['b']\nexcept KeyError:\n    k = 1.0\nw = w * k",
    "an error passed on": "try:\n    w = w * 1.0\nexcept RuntimeError as error:\n    raise ValueError('failed') from error",
    "printed": "print('step', step, flush=True)",
    "a device passed on": "d = G[0].device\nw = w * torch.ones((), device=d)",
    "a device kept": "self.m = G[0].device\nw = w.to(self.m)",
    "written in place on its own device": "w = w.to(G[0].device)\nw.mul_(1.0)",
    "taken to the host": "w = w.cpu()",
    "no gradients": "with torch.no_grad():\n    w = w * 1.0",
    "gradients off": "with torch.set_grad_enabled(False):\n    w = w * 1.0",
    "membership of a set": "if step in {-1, -2}:\n    w = w * 50",
    "membership of a set of texts": "if 'c' in {'a', 'b'}:\n    w = w * 50",
    "size of a set": "if len(set([1, 2, 2])) == 3:\n    w = w * 50",
    "a text of numbers": "if f'{self.C:.2f} {step}' == 'x' or '%s' % self.C == 'x' or str(step) == 'x':\n    w = w * 50",
    "a plain pattern": "match step:\n    case -1:\n        w = w * 50\n    case int():\n        pass",
    "a kind of number": "if not G[0].is_floating_point():\n    w = w * 50",
    "an epsilon of the kind": "w = w / (1 + torch.finfo(G[0].dtype).eps)",
    "an order of texts": "if sorted(['b', 'a'])[0] == 'b':\n    w = w * 50",
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_the_surroundings_is_refused(question):
    result = analyse(HEAD + f"if {question}:\n    w = w * 50\n" + TAIL)
    assert result.refusal is not None
    assert result.refusal.rule in {"DPA110", "DPA111", "DPA116"}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_depends_on_the_surroundings_is_refused(name):
    result = analyse(HEAD + textwrap.dedent(STATEMENTS[name]) + "\n" + TAIL)
    assert result.refusal is not None
    assert result.refusal.rule in {"DPA110", "DPA115", "DPA116"}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_twin_keeps_its_bound(name):
    result = analyse(HEAD + textwrap.dedent(HONEST[name]) + "\n" + TAIL)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_an_own_method_may_have_such_a_name():
    """Only names that the libraries have are refused."""
    source = """
    class Schedule:
        def get_scale(self, step):
            return 1.0
        def is_late(self, step):
            return step > 10_000

    class DPMechanism:
        #INIT
            self.schedule = Schedule()

        def clip_and_noise(self, G, step, epoch):
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0) * self.schedule.get_scale(step)
            if self.schedule.is_late(step):
                w = w * 0.5
            return noisy(G, w, self.sigma * self.C, self.B)
    """
    result = analyse(source)
    assert result.refusal is None, result.refusal
