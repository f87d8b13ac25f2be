"""State where no copy of a mechanism shows it, and what tells of the caller, the clock or the machine.

The first attacks leave the clip away after some steps, and nothing but what they keep says when; each was once bounded at 1.2.
"""

import pytest

from .attack_forms import contribution, stateful, weighted
from .test_attacks import analyse

COUNTED = "\nw = w * (1 + 49 * (k > 5))"
STATE = {
    "a closure at module level": stateful(
        top="""
        def make():
            box = [0]
            def count():
                box[0] += 1
                return box[0]
            return count
        COUNT = make()
        """,
        step="k = COUNT()" + COUNTED,
    ),
    "a closure in a list": stateful(
        top="""
        def make():
            box = [0]
            def count():
                box[0] += 1
                return box[0]
            return [count]
        COUNTS = make()
        """,
        step="k = COUNTS[0]()" + COUNTED,
    ),
    "a default argument": stateful(
        top="def count(acc=[[0]][0]):\n    acc[0] += 1\n    return acc[0]\n", step="k = count()" + COUNTED
    ),
    "a flag that turns and turns back": stateful(
        top="FLAG = [0]\n", step="b = FLAG[0]\nFLAG[0] = 1 - b\nw = w * (1 + 49 * b)"
    ),
    "methods of a list": stateful(
        init="box = []\nself.push = box.append\nself.read = box.copy",
        step="self.push(1)\nk = len(self.read())" + COUNTED,
    ),
    "an attribute of a dict": stateful(
        top="class D(dict):\n    pass\n",
        init="self.d = D()\nself.d.k = 0",
        step="self.d.k += 1\nk = self.d.k" + COUNTED,
    ),
    "an attribute of a number": stateful(
        top="class D(float):\n    pass\n",
        init="self.d = D(1.0)\nself.d.k = 0",
        step="self.d.k += 1\nk = self.d.k" + COUNTED,
    ),
    "a class made in a function": stateful(
        init="class Box:\n    k = [0]\nself.Box = Box", step="self.Box.k[0] += 1\nk = self.Box.k[0]" + COUNTED
    ),
    "an object of such a class": stateful(
        init="class Box:\n    k = [0]\nself.box = Box()", step="self.box.k[0] += 1\nk = self.box.k[0]" + COUNTED
    ),
    "two classes of one name": stateful(
        top="def make(k):\n    class A:\n        v = k\n    return A\n",
        init="self.a = [make(1.0), make(50.0)]",
        step="w = w * self.a[0].v\nself.a = self.a[::-1]",
    ),
    "two functions of one code": stateful(
        init="self.a = [(lambda k=v: k) for v in (1.0, 50.0)]", step="w = w * self.a[0]()\nself.a = self.a[::-1]"
    ),
    "an array of a tensor": stateful(
        init="self.t = torch.zeros(1)\nself.a = self.t.numpy()", step="self.t.add_(1)\nk = float(self.a[0])" + COUNTED
    ),
    "a view of an array": stateful(
        init="self.a = np.zeros(2)\nself.b = self.a[:1]", step="self.a[0] += 1\nk = float(self.b[0])" + COUNTED
    ),
    "a parameter of a tensor": stateful(
        init="self.t = torch.zeros(1)\nself.p = torch.nn.Parameter(self.t)",
        step="self.t.add_(1)\nk = self.p.detach().item()" + COUNTED,
    ),
    "memory of torch's": stateful(
        init="self.s = torch.FloatStorage(1)\nself.s[0] = 0.0",
        step="self.s[0] = self.s[0] + 1\nk = self.s[0]" + COUNTED,
    ),
    "a property of the report": stateful(
        init="self.t = 0",
        methods="""
        @property
        def bump(self):
            self.t += 1
            return 0.0
        def get_effective_sigma(self, step, epoch):
            return self.sigma + self.bump
        """,
        step="k = self.t" + COUNTED,
    ),
    "a builtin of its own in the report": stateful(
        top="def max(a, b):\n    a.t += 1\n    return b\n",
        init="self.t = 0",
        methods="def get_effective_sigma(self, step, epoch):\n    return max(self, self.sigma)",
        step="k = self.t" + COUNTED,
    ),
    "a class registered": stateful(
        top="import abc\nclass A(abc.ABC):\n    pass\nclass B:\n    pass\n",
        step="k = 10 * isinstance(B(), A)\nA.register(B)" + COUNTED,
    ),
    "a logger's level": stateful(
        top="import logging\n", step="L = logging.getLogger('xx')\nL.setLevel(1 + L.level)\nk = L.level" + COUNTED
    ),
}
COPIES = {
    "a class made by a call": stateful(
        init="self.b = type('L', (list,), {'__deepcopy__': lambda s, m: [1.0]})([50.0])", step="w = w * self.b[0]"
    ),
    "a table of how to copy": stateful(
        top="import copy\nclass Box:\n    def __init__(self, v):\n        self.v = v\n",
        init="copy.dispatch_table[Box] = lambda b: (Box, (1.0,))\nself.b = Box(50.0)",
        step="w = w * self.b.v",
    ),
    "a dict with items of its own": stateful(
        top="class D(dict):\n    def items(self):\n        return {'k': 1.0}.items()\n",
        init="self.d = D(k=50.0)",
        step="w = w * self.d['k']",
    ),
}
"""A copy, which the analysis works on, is harmless; the object itself is not."""
SURROUNDINGS = {
    "a clock of NumPy's": "k = np.datetime64('now').astype(int) > 2_000_000_000",
    "a clock of a log record": "import logging\nk = logging.makeLogRecord({}).created > 1.9e9",
    "the loggers": "import logging\nk = 'dpaudit' in logging.root.manager.loggerDict",
    "the handlers": "import logging\nk = len(logging.root.handlers)",
    "the handlers of a logger": "import logging\nk = len(logging.getLogger().handlers)",
    "generators on GPUs": "k = len(torch.cuda.default_generators)",
    "the build": "k = torch.cuda.has_magma",
    "randomness of scipy's": "import scipy.stats\nk = scipy.stats.norm.rvs() > 3",
    "randomness of the standard library's": "import statistics\nk = statistics.NormalDist().samples(1)[0] > 3",
    "a hash in a partial": "import functools\nk = sorted(['a', 'b'], key=functools.partial(hash))[0] == 'b'",
    "an address by a decorator": "@id\ndef a():\n    pass\nk = a // 64 % 1000 == 7",
    "a hash under another name": "dir = hash\nk = dir('a') % 1000 == 7",
    "a way out of finally": "try:\n    k = G[0].sum(0)\nfinally:\n    return noisy(G, 50 * w, 1.2, 256)",
    "a handler that leaves before it raises": (
        "try:\n    k = torch.zeros(1) + G[0].sum(0)\nexcept RuntimeError:\n    if self.C:\n"
        "        return noisy(G, 50 * w, 1.2, 256)\n    raise"
    ),
    "a stack that swallows": "import contextlib\nwith contextlib.ExitStack() as e:\n    e.push(lambda *a: True)\nk = 0",
    "a suppression renamed": "from contextlib import suppress as s\nwith s(RuntimeError):\n    k = 0\nk = 0",
    "a seed in a partial": "import functools as t\nfrom torch import manual_seed as f\nk = 0 * sorted([7], key=t.partial(f))[0]",
    "an unwritten array": "k = float(np.empty(1)[0] > 1e3)",
}
HONEST = {
    "a table at module level": stateful(top="TABLE = [1.0, 1.0]\n", step="w = w * TABLE[step % 2]"),
    "a closure of numbers": stateful(
        top="def make(k):\n    def f(x):\n        return x * k\n    return f\nSAME = make(1.0)\n", step="w = SAME(w)"
    ),
    "a dict of its own class": stateful(
        top="class D(dict):\n    pass\n", init="self.d = D(a=1.0)", step="w = w * self.d['a']"
    ),
    "an object with a table in its class": stateful(
        top="class Plan:\n    table = [1.0, 2.0]\n    def at(self, k):\n        return self.table[0]\n",
        init="self.plan = Plan()",
        step="w = w * self.plan.at(step)",
    ),
    "an array": stateful(init="self.a = np.ones(2)", step="w = w * float(self.a[0])"),
    "a view of a tensor": stateful(
        init="self.t = torch.ones(9)\nself.v = self.t[:2]", step="w = w * self.v[0] * self.t[1]"
    ),
    "a log": weighted("import logging\nlogging.getLogger('x').info('step %d', step)"),
    "a static method": stateful(methods="@staticmethod\ndef same(x):\n    return x", step="w = self.same(w)"),
    "a normal quantile": stateful(
        top="import scipy.stats\nimport statistics\n",
        init="self.q = scipy.stats.norm.ppf(0.5) + statistics.NormalDist().inv_cdf(0.5)",
        step="w = w * (1.0 + self.q)",
    ),
}


@pytest.mark.parametrize("name", {**STATE, **COPIES})
def test_no_hidden_state_gets_a_bound(name):
    result = analyse({**STATE, **COPIES}[name])
    assert result.sigma_effective is None or min(result.sigma_effective) <= 0.025, result.sigma_effective


@pytest.mark.parametrize("name", {**STATE, **COPIES})
def test_the_clip_is_left_away_at_some_step(name):
    assert contribution({**STATE, **COPIES}[name]) > 40


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_tells_of_the_surroundings_is_refused(name):
    result = analyse(weighted(SURROUNDINGS[name] + "\nw = w * (1 + 49 * k)"))
    assert result.refusal is not None
    assert result.refusal.rule in {"DPA112", "DPA115", "DPA116"}, result.refusal


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_twins_are_bounded(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)
