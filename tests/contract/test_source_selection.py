"""Which statements a class needs: everything that it refers to, and nothing that only trains or prints."""

import ast

import pytest

from dpaudit.contract.source_selection import select

CLASS = "class M:\n    def f(self):\n        return {body}\n"


def kept(text, name="M"):
    return [ast.unparse(node) for node in select(ast.parse(text), name).body]


def lines(text):
    return [node.lineno for node in select(ast.parse(text), "M").body]


def test_the_class_alone():
    text = "import torch\nx = 1\n" + CLASS.format(body="2")
    assert lines(text) == [3]


@pytest.mark.parametrize(
    "statement",
    [
        "import x", "import x.y", "import a as x", "from a import x", "from a import b as x", "x = 1", "x: int = 1",
        "def x(): pass", "class x: pass", "async def x(): pass", "x, y = 1, 2", "x[0] = 1", "x.a.b = 1", "x.append(1)",
        "x[0].append(1)", "setattr(x, 'a', 1)", "x += 1", "del x.a", "for x in (): pass", "with open('f') as x: pass",
        "if y:\n    x = 1", "if y:\n    import x", "if y:\n    def x(): pass", "if y:\n    class x: pass",
        "if y:\n    x.append(1)", "try:\n    import x\nexcept ImportError:\n    x = None",
    ],
)  # fmt: skip
def test_a_statement_that_binds_or_amends_what_is_read_is_taken(statement):
    text = f"{statement}\n" + CLASS.format(body="x")
    assert ast.unparse(ast.parse(statement)) in kept(text)
    assert kept(f"{statement}\n" + CLASS.format(body="2")) == [ast.unparse(ast.parse(CLASS.format(body="2")))]


@pytest.mark.parametrize(
    "statement",
    [
        "print(x)", "train(x)", "torch.manual_seed(x)", "np.random.seed(x)", "numpy.seterr(x)", "random.seed(x)", "math.f(x)",
        "y = x", "y.append(x)", "def y():\n    x = 1", "class y:\n    x = 1", "y = lambda: x", "x", "setattr()", "'x'",
        "def y():\n    import x", "f().append(x)", "', '.join(x)", "f().a = x", "if y:\n    def z():\n        x = 1",
        "getattr(x, 'a')",
        "if __name__ == '__main__':\n    x = 1", "if '__main__' == __name__:\n    x = 1",
    ],
)  # fmt: skip
def test_a_statement_that_only_reads_or_runs_is_left_out(statement):
    text = f"{statement}\n" + CLASS.format(body="(x, torch, np, numpy, random, math)")
    assert kept(text) == [ast.unparse(ast.parse(CLASS.format(body="(x, torch, np, numpy, random, math)")))]


def test_a_test_of_another_name_is_no_main_guard():
    text = "if name == 1:\n    x = 1\nif z:\n    x = 2\n" + CLASS.format(body="x")
    assert lines(text) == [1, 3, 5]


def test_what_a_needed_statement_reads_is_needed_too_in_its_own_order():
    text = "a = 1\nb = a\nc = 5\n" + CLASS.format(body="d") + "d = b\n"
    assert lines(text) == [1, 2, 4, 7]
    inner = "a = 1\ndef g():\n    def h():\n        return a\n    return h\n" + CLASS.format(body="g()")
    assert lines(inner) == [1, 2, 6]
    nested = "a = 1\nclass M:\n    class N:\n        b = a\n"
    assert lines(nested) == [1, 2]
    declared = "a = 1\nclass M:\n    def f(self):\n        global a\n        a = 2\n"
    assert lines(declared) == [1, 2]


def test_local_variables_are_no_names_of_the_module():
    text = "x = 1\nclass M:\n    def f(self, x):\n        return x\n"
    assert lines(text) == [2]


@pytest.mark.parametrize("statement", ["from a import *", "from __future__ import annotations"])
def test_what_could_bind_anything_is_always_taken(statement):
    assert kept(f"{statement}\n" + CLASS.format(body="2"))[0] == statement
    assert len(kept("from a import b\nfrom future import c\n" + CLASS.format(body="2"))) == 1


def test_a_class_body_is_taken_whole_and_a_parent_with_it():
    text = "class P:\n    pass\nclass Q:\n    pass\nclass M(P):\n    pass\n"
    assert lines(text) == [1, 5]


def test_an_error_that_only_the_compiler_finds_is_raised():
    with pytest.raises(SyntaxError):
        select(ast.parse("return 1\n" + CLASS.format(body="2")), "M")


def test_warnings_of_the_compiler_are_the_author_s_own(recwarn):
    select(ast.parse("x = 1 is 1\n" + CLASS.format(body="x")), "M")
    assert not [warning for warning in recwarn if warning.category is SyntaxWarning]
