"""Mutate dpaudit's own decision, bounds and accounting code: ``python -m tests.mutation.dpaudit [--only MODULE] [--sample N]``.

Each mutant is one module with one changed node. A fork of this process, which has imported the third-party packages but nothing
of dpaudit, imports it in place of the original and runs the tests that belong to the module, up to the first failure. A mutant
that all of them pass survives. ``survivors.json`` beside this file says of survivors that are known why they are equivalent; any
other one makes the command end with 1.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_name("survivors.json")
_THIRD_PARTY = (
    "numpy", "scipy.special", "scipy.stats", "scipy.signal", "scipy.optimize", "scipy.fft", "mpmath", "hypothesis", "pytest",
    "dp_accounting.pld", "dp_accounting.rdp", "torch", "jsonschema",
)  # fmt: skip
_DEFAULT_LIMIT = 240.0
_IMPORTED_EARLIER = "ignore::pytest.PytestAssertRewriteWarning"

TESTS: dict[str, tuple[str, ...]] = {
    "dpaudit/contract/bracket.py": ("tests/contract/test_contract.py", "tests/gate/test_own_code.py"),
    "dpaudit/contract/event_trace.py": ("tests/contract/test_contract.py", "tests/accounting/test_prepared.py"),
    "dpaudit/contract/run_config.py": ("tests/contract/test_contract.py",),
    "dpaudit/contract/finding.py": ("tests/contract/test_contract.py", "tests/gate/test_decision.py"),
    "dpaudit/contract/audit_report.py": ("tests/contract/test_contract.py", "tests/gate/test_own_code.py"),
    "dpaudit/contract/static_result.py": ("tests/contract/test_contract.py", "tests/gate/test_own_code.py"),
    "dpaudit/contract/kernel_barrier.py": ("tests/contract/test_kernel_barrier.py",),
    "dpaudit/contract/scratch.py": ("tests/contract/test_scratch.py",),
    "dpaudit/gate/decision.py": ("tests/gate/test_decision.py",),
    "dpaudit/gate/consistency.py": ("tests/gate/test_consistency.py", "tests/gate/test_own_code.py"),
    "dpaudit/gate/expectations.py": ("tests/gate/test_expectations.py",),
    "dpaudit/gate/plan.py": ("tests/gate/test_decision.py", "tests/gate/test_own_code.py"),
    "dpaudit/gate/limits.py": ("tests/gate/test_own_code.py",),
    "dpaudit/gate/layers.py": ("tests/gate/test_own_code.py",),
    "dpaudit/accounting/epsilon.py": (
        "tests/accounting/test_epsilon_bracket.py", "tests/accounting/test_goldens.py", "tests/accounting/test_prepared.py",
    ),
    "dpaudit/accounting/cells.py": (
        "tests/accounting/test_epsilon_bracket.py", "tests/accounting/test_goldens.py", "tests/accounting/test_prepared.py",
    ),
    "dpaudit/accounting/calibrate.py": ("tests/accounting/test_calibrate.py",),
    "dpaudit/accounting/composition.py": ("tests/accounting/test_composition.py", "tests/accounting/test_epsilon_bracket.py"),
    "dpaudit/accounting/discretise.py": ("tests/accounting/test_discretise.py", "tests/accounting/test_epsilon_bracket.py"),
    "dpaudit/accounting/privacy_curves.py": ("tests/accounting/test_privacy_curves.py",),
    "dpaudit/accounting/truncation.py": ("tests/accounting/test_privacy_curves.py", "tests/accounting/test_epsilon_bracket.py"),
    "dpaudit/accounting/gaussian_curve.py": (
        "tests/accounting/test_privacy_curves.py", "tests/accounting/test_epsilon_bracket.py",
    ),
    "dpaudit/accounting/shuffled.py": ("tests/accounting/test_shuffled.py",),
    "dpaudit/accounting/prepared.py": ("tests/accounting/test_prepared.py",),
    "dpaudit/accounting/expected_batch.py": ("tests/accounting/test_expected_batch.py",),
    "dpaudit/accounting/renyi.py": ("tests/accounting/test_epsilon_bracket.py",),
    "dpaudit/accounting/tradeoff.py": ("tests/accounting/test_tradeoff.py",),
    "dpaudit/accounting/interpolation.py": ("tests/accounting/test_schedules.py",),
    "dpaudit/accounting/steps.py": ("tests/accounting/test_schedules.py", "tests/accounting/test_composition.py"),
    "dpaudit/accounting/step_rows.py": ("tests/accounting/test_schedules.py",),
    "dpaudit/accounting/sampled_gaussian.py": ("tests/accounting/test_epsilon_bracket.py", "tests/accounting/test_schedules.py"),
    "dpaudit/accounting/benchmark_formula.py": ("tests/accounting/test_goldens.py",),
}  # fmt: skip
"""Module to the tests that must notice a change of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed node of one module. ``code`` is the original line, by which a known survivor is found again."""

    module: str
    position: int
    variant: int
    line: int
    code: str
    what: str

    @property
    def key(self) -> str:
        """Stable as long as the line stays as it is."""
        return f"{self.module}|{self.code}|{self.what}"


def mutants(module: str) -> list[Mutant]:
    """Every mutant of a module."""
    text = (ROOT / module).read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    skipped = _not_code(tree)
    found = []
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for variant, (what, _) in enumerate(_rewrites(copy.deepcopy(node))):
            line = int(getattr(node, "lineno", 0))
            code = lines[line - 1].strip() if line else ""
            found.append(Mutant(module=module, position=position, variant=variant, line=line, code=code, what=what))
    return found


def _not_code(tree: ast.Module) -> set[int]:
    """Docstrings, messages and annotations: what no behaviour hangs on."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        dropped: list[ast.AST] = []
        match node:
            case ast.Expr(value=ast.Constant()) | ast.JoinedStr():
                dropped = [node]
            case ast.Raise(exc=ast.Call(args=arguments)):
                dropped = list(arguments)
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=annotation) if annotation is not None:
                dropped = [annotation]
            case ast.FunctionDef(returns=returns) if returns is not None:
                dropped = [returns]
            case ast.ClassDef(decorator_list=decorators):
                dropped = list(decorators)
            case _:
                pass
        skipped |= {id(part) for top in dropped for part in ast.walk(top)}
    return skipped


_COMPARISONS: dict[type, tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type, type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil", "minimum": "maximum",
          "maximum": "minimum", "log1p": "log", "expm1": "exp"}  # fmt: skip


def _rewrites(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare():
            for index, operation in enumerate(node.ops):
                for other in _COMPARISONS.get(type(operation), ()):
                    changed = copy.deepcopy(node)
                    changed.ops[index] = other()
                    yield f"comparison {index}: {type(operation).__name__} to {other.__name__}", changed
        case ast.BinOp(op=operation) if type(operation) in _ARITHMETIC:
            node.op = _ARITHMETIC[type(operation)]()
            yield f"{type(operation).__name__} to {type(node.op).__name__}", node
        case ast.BoolOp(op=operation):
            node.op = ast.Or() if isinstance(operation, ast.And) else ast.And()
            yield f"{type(operation).__name__} to {type(node.op).__name__}", node
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"without {type(node.op).__name__}", node.operand
        case ast.Constant(value=bool(value)):
            yield f"{value} to {not value}", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield f"{value} to {value + 1}", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield f"{value} doubled", ast.Constant(2 * value if value else 1.0)
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            node.func = ast.Name(id=_CALLS[name], ctx=ast.Load())
            yield f"{name} to {_CALLS[name]}", node
        case ast.Call(func=ast.Attribute(attr=name)) if name in _CALLS:
            assert isinstance(node.func, ast.Attribute)
            node.func.attr = _CALLS[name]
            yield f"{name} to {_CALLS[name]}", node
        case ast.If() | ast.IfExp():
            for value in (True, False):
                changed = copy.deepcopy(node)
                changed.test = ast.Constant(value)
                yield f"condition {value}", changed
        case ast.Raise() | ast.AugAssign():
            yield f"{type(node).__name__} dropped", ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield "statement dropped", ast.Pass()
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "returns None", ast.Return(value=ast.Constant(None))
        case _:
            pass


def mutated(mutant: Mutant) -> ast.Module:
    """The module's tree with the change."""
    tree = ast.parse((ROOT / mutant.module).read_text(encoding="utf-8"))
    target = list(ast.walk(tree))[mutant.position]
    replacement = list(_rewrites(copy.deepcopy(target)))[mutant.variant][1]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(replacement, node) if node is target else self.generic_visit(node)

    changed: ast.Module = ast.fix_missing_locations(Replace().visit(tree))
    return changed


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._path, self._tree = ROOT / module, tree
        self.name = module.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


def survives(mutant: Mutant | None, tests: Sequence[str], limit: float = _DEFAULT_LIMIT) -> bool:
    """Whether the tests pass with the mutant (``None``: with the code as it is). A hang counts as noticed."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setpgid(0, 0)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            if mutant is not None:
                instead = _Instead(mutant.module, mutated(mutant))
                sys.meta_path.insert(0, instead)
                importlib.import_module(instead.name)  # now: pytest's own finder would come first
            os.chdir(ROOT)
            import pytest

            assert mutant is None or sys.modules[instead.name].__loader__ is instead
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-W", _IMPORTED_EARLIER, *tests]))
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def main() -> int:
    """Exit 0 if every survivor is known to be equivalent, 1 if not, 2 if the tests fail without a change."""
    parser = argparse.ArgumentParser(description="mutation testing of dpaudit's own code")
    parser.add_argument("--only", default="", help="parts of modules' paths, separated by commas")
    parser.add_argument("--sample", type=int, default=12, help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for dpaudit.json and dpaudit.md")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    chosen = [module for module in TESTS if any(part in module for part in parts)]
    if not chosen:
        parser.error(f"no module's path contains {arguments.only!r}")
    for name in _THIRD_PARTY:
        importlib.import_module(name)
    known: dict[str, str] = json.loads(KNOWN.read_text(encoding="utf-8"))
    rows: list[dict[str, object]] = []
    failing: list[str] = []
    for module in chosen:
        if not survives(None, TESTS[module]):
            print(f"{module}: its tests fail without a change: {' '.join(TESTS[module])}", file=sys.stderr)
            failing.append(module)
            continue
        every = mutants(module)
        picked = random.Random(arguments.seed).sample(every, min(arguments.sample or len(every), len(every)))
        for mutant in sorted(picked, key=lambda mutant: mutant.line):
            alive = survives(mutant, TESTS[module])
            reason = known.get(mutant.key, "") if alive else ""
            rows.append({**asdict(mutant), "killed": not alive, "equivalent": reason, "of": len(every)})
            if alive:
                print(
                    f"{'known   ' if reason else 'SURVIVES'} {module}:{mutant.line} {mutant.what} | {mutant.code}",
                    flush=True,
                )
        mine = [row for row in rows if row["module"] == module]
        print(
            f"{module}: {sum(bool(row['killed']) for row in mine)} of {len(mine)} killed ({len(every)} in all)",
            flush=True,
        )
        if arguments.out:  # after every module: a campaign may be interrupted
            _write(arguments.out, rows, f"--only {arguments.only} --sample {arguments.sample} --seed {arguments.seed}")
    unexplained = [row for row in rows if not row["killed"] and not row["equivalent"]]
    return 2 if failing else 1 if unexplained else 0


def _write(folder: Path, rows: list[dict[str, object]], settings: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dpaudit.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    killed = sum(bool(row["killed"]) for row in rows)
    equivalent = sum(bool(row["equivalent"]) for row in rows)
    lines = [
        "# Mutants of dpaudit's own code",
        "",
        f"Made by `python -m tests.mutation.dpaudit {settings} --out reports/mutation`.",
        "",
        f"{len(rows)} mutants, a sample; {killed} killed by the tests of their module, {equivalent} equivalent (below), "
        f"{len(rows) - killed - equivalent} survive without an explanation. Of those that are not equivalent "
        f"{killed / max(1, len(rows) - equivalent):.1%} are killed.",
        "",
        "| module | mutants in all | drawn | killed | equivalent | unexplained |",
        "|---|---|---|---|---|---|",
    ]
    for module in dict.fromkeys(row["module"] for row in rows):
        mine = [row for row in rows if row["module"] == module]
        dead, same = sum(bool(row["killed"]) for row in mine), sum(bool(row["equivalent"]) for row in mine)
        lines.append(f"| {module} | {mine[0]['of']} | {len(mine)} | {dead} | {same} | {len(mine) - dead - same} |")
    lines += ["", "## Survivors", "", "| place | change | code | why it is equivalent |", "|---|---|---|---|"]
    for row in rows:
        if not row["killed"]:
            code = str(row["code"]).replace("|", "\\|")
            lines.append(
                f"| {row['module']}:{row['line']} | {row['what']} | `{code}` | {row['equivalent'] or 'NOT EXPLAINED'} |"
            )
    (folder / "dpaudit.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
