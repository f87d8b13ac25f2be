"""Run an Opacus script or factory in this process and write down what it set up and what its optimiser did.

Called as ``python -m dpaudit.adapters.opacus_child SPEC ANSWER``. Nothing of Opacus is changed but for what is recorded:
``make_private``, ``make_private_with_epsilon``, ``get_epsilon``, ``pre_step`` and ``signal_skip_step`` are called through.
"""

import importlib
import importlib.util
import inspect
import json
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .inlined_source import inline_class
from .opacus_gradients import GradientWatch

LEFT_OUT = frozenset({"_check_skip_next_step", "attach_step_hook", "signal_skip_step"})
_ENTRIES = ("__init__", "pre_step", "zero_grad")
_GIVEN = {"self", "optimizer", "kwargs", "generator"}
_MOST_STEPS = 1_000_000


class Record:
    """What one script did with one private optimiser."""

    def __init__(self, file: str) -> None:
        self.file = str(Path(file).resolve())
        self.engines: list[dict[str, Any]] = []
        self.target: dict[str, Any] = {}
        self.claimed: list[list[float]] = []
        self.steps: list[list[float | None]] = []
        self.skipped = 0
        self.depth = 0
        self.optimizer: Any = None
        self.accountant: Any = None
        self.gradients = GradientWatch()

    def line(self) -> int | None:
        """The innermost line of the user's file on the stack."""
        frame = inspect.currentframe()
        while frame is not None:
            if str(Path(frame.f_code.co_filename).resolve()) == self.file:
                return frame.f_lineno
            frame = frame.f_back
        return None


def watch(record: Record) -> None:
    """Record what Opacus is asked to do from now on."""
    from opacus import PrivacyEngine
    from opacus.optimizers import DPOptimizer

    make, make_epsilon, get_epsilon = (
        PrivacyEngine.make_private,
        PrivacyEngine.make_private_with_epsilon,
        PrivacyEngine.get_epsilon,
    )

    def make_private(self: Any, **words: Any) -> Any:
        result = make(self, **words)
        optimizer = next(part for part in result if isinstance(part, DPOptimizer))
        record.engines.append({"line": record.line(), **_engine_facts(self, optimizer, result[-1], words)})
        record.optimizer, record.accountant = optimizer, self.accountant
        hooked = next((part for part in result if hasattr(part, "disable_hooks")), None)
        if len(record.engines) == 1 and hooked is not None:
            record.gradients.attach(hooked, optimizer)
        return result

    def make_private_with_epsilon(self: Any, **words: Any) -> Any:
        record.target = {
            "epsilon": float(words["target_epsilon"]),
            "delta": float(words["target_delta"]),
            "epochs": int(words["epochs"]),
        }
        return make_epsilon(self, **words)

    def epsilon(self: Any, delta: float) -> Any:
        value = get_epsilon(self, delta)
        record.claimed.append([float(delta), float(value)])
        return value

    PrivacyEngine.make_private = make_private
    PrivacyEngine.make_private_with_epsilon = make_private_with_epsilon
    PrivacyEngine.get_epsilon = epsilon
    for cls in {DPOptimizer, *_subclasses(DPOptimizer)}:
        if "pre_step" in vars(cls):
            cls.pre_step = _stepping(record, cls.pre_step)
    signal = DPOptimizer.signal_skip_step

    def signal_skip_step(self: Any, do_skip: bool = True) -> Any:
        record.skipped += bool(do_skip)
        return signal(self, do_skip)

    DPOptimizer.signal_skip_step = signal_skip_step


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [found for child in children for found in (child, *_subclasses(child))]


def _stepping(record: Record, original: Callable[..., Any]) -> Callable[..., Any]:
    def pre_step(self: Any, *arguments: Any, **words: Any) -> Any:
        before = [_number(self.noise_multiplier), _number(self.max_grad_norm), _number(self.expected_batch_size)]
        record.depth += 1  # a subclass calls its parent's pre_step: one step, not two
        try:
            done = original(self, *arguments, **words)
        finally:
            record.depth -= 1
        if done and record.depth == 0 and self is record.optimizer:
            if len(record.steps) >= _MOST_STEPS:
                raise RuntimeError(f"more than {_MOST_STEPS} steps in one run")
            record.steps.append(before)
            record.gradients.after_release()
        return done

    return pre_step


def _number(value: Any) -> float | None:
    """A number, also one that an optimiser keeps in a tensor of one element."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _plain(name: str, value: Any) -> Any:
    """A constructor argument as it can be written into a file: a word, a number, a list of numbers, or nothing."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(name, member) for member in value]
    number = _number(value)
    if number is None:
        raise TypeError(
            f"the optimiser's argument {name} is a {type(value).__name__}; the adapter can carry over numbers and words only"
        )
    return number


def _engine_facts(engine: Any, optimizer: Any, loader: Any, words: dict[str, Any]) -> dict[str, Any]:
    """Numbers and names, read from the objects that ``make_private`` returned."""
    from torch.utils.data import RandomSampler

    sampler = getattr(loader, "sampler", None)
    return {
        "poisson": type(getattr(loader, "batch_sampler", None)).__name__ == "UniformWithReplacementSampler",
        "shuffled": isinstance(sampler, RandomSampler) and not sampler.replacement,
        "dataset_size": len(loader.dataset),
        "loader_length": len(loader),
        "given_batch_size": getattr(words["data_loader"], "batch_size", None),
        "given_drop_last": bool(getattr(words["data_loader"], "drop_last", False)),
        "accountant": type(engine.accountant).mechanism(),
        "mode": str(words.get("grad_sample_mode", "hooks")),
        "generator": optimizer.generator is not None,
        "max_grad_norm": _number(optimizer.max_grad_norm),
        "shapes": [list(p.shape) for p in optimizer.params],
    }


def optimizer_facts(optimizer: Any, first_bound: float | None) -> dict[str, Any]:
    """Class, arguments and the inlined source of an optimiser.

    An optimiser that moves its own clipping bound is taken with the bound that it began with, ``first_bound``: where the
    bound goes from there is part of what is audited.
    """
    cls = type(optimizer)
    words = {name for base in cls.__mro__ if "__init__" in vars(base) for name in _parameters(base)}
    arguments: dict[str, Any] = {}
    for name in sorted(words - _GIVEN):
        own = getattr(optimizer, "max_grad_norms", None) if name == "max_grad_norm" else None
        arguments[name] = _plain(name, own if own is not None else getattr(optimizer, name, None))
    adaptive = "clipbound_learning_rate" in arguments
    if adaptive:
        arguments["max_grad_norm"] = first_bound
    inlined = inline_class(cls, _ENTRIES, package="opacus", leave_out=LEFT_OUT)
    return {
        "class": cls.__name__,
        "module": cls.__module__,
        "arguments": arguments,
        "noise_multiplier": _number(optimizer.noise_multiplier),
        "max_grad_norm": first_bound if adaptive else _number(optimizer.max_grad_norm),
        "expected_batch_size": _number(optimizer.expected_batch_size),
        "text": inlined.text,
        "origins": [list(pair) for pair in inlined.origins],
    }


def _parameters(base: type) -> list[str]:
    if not base.__module__.startswith(("torch", "builtins")):
        return list(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
    return []


def _load(place: str) -> ModuleType:
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    return importlib.import_module(place)


def run_watched(spec: str) -> Record:
    """Run the script, or import the module and call the factory, with what Opacus is asked to do on record."""
    place, _, factory = spec.partition(":")
    file = place if place.endswith(".py") else ""
    sys.path.insert(0, str(Path(file).resolve().parent) if file else str(Path.cwd()))
    from opacus import PrivacyEngine  # noqa: F401 - loaded before it is watched

    if factory and not file:
        found = importlib.util.find_spec(place)
        file = (found.origin or "") if found is not None else ""
    record = Record(file or place)
    watch(record)
    try:
        if factory:
            getattr(_load(place), factory)()
        else:
            sys.argv = [place]
            runpy.run_path(place, run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise SystemExit(f"it ended itself with exit status {stop.code!r}") from None
    except Exception as error:
        raise SystemExit(_said(error, record.file)) from error
    return record


def _said(error: Exception, file: str) -> str:
    """The error in one line, with the last line of the user's own file on the way to it."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if str(Path(frame.filename).resolve()) == file
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def main(spec: str, answer: str) -> None:
    """Run ``spec`` and write what was recorded to the file ``answer``."""
    record = run_watched(spec)
    history = [[float(s), float(q), int(n)] for s, q, n in record.accountant.history] if record.accountant else []
    optimizer = record.optimizer
    facts = {
        "engines": record.engines,
        "target": record.target,
        "claimed": record.claimed,
        "steps": record.steps,
        "skipped": record.skipped,
        "history": history,
        "file": record.file,
        "watched": record.gradients.facts() if record.engines else {},
        "optimizer": None if optimizer is None else optimizer_facts(optimizer, record.engines[-1]["max_grad_norm"]),
        "version": importlib.import_module("opacus").__version__,
    }
    Path(answer).write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
