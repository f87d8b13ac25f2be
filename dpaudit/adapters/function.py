"""A plain function ``(grads, step) -> update`` as a mechanism."""

import ast
from pathlib import Path

from dpaudit.contract import RunConfig, UsageError

from .subject import Subject

CLASS = "DpauditFunction"
_CLASS_TEXT = """

class {class_name}:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier

    def clip_and_noise(self, per_sample_grads, step, epoch):
        return {function}(per_sample_grads, step)

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
"""


def function_subject(spec: str, config: RunConfig, folder: Path) -> Subject:
    """The function ``file.py:name`` as a mechanism whose claim is ``config``'s constant noise multiplier.

    The function's file is taken as it is, with a class after its end, so that every line keeps its number.

    Raises:
        UsageError: no such file, or no such function at its top level.
    """
    path, _, name = spec.rpartition(":")
    if not path or not name.isidentifier():
        raise UsageError(f"--function: expected FILE.py:NAME, got {spec!r}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--function: cannot read {path}: {error}") from None
    lines = text.count("\n") + 1
    try:
        found = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    except SyntaxError as error:
        raise UsageError(f"--function: {path} does not parse: {error.msg} (line {error.lineno})") from None
    if name not in found:
        raise UsageError(
            f"--function: {path} defines no function {name} at its top level; found: {', '.join(sorted(found)) or 'none'}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{Path(path).stem}-{name}.py"
    file.write_text(text.rstrip("\n") + _CLASS_TEXT.format(class_name=CLASS, function=name), encoding="utf-8")

    def place(line: int | None) -> tuple[str, int | None, str]:
        own = line is not None and line <= lines
        return path, line if own else None, "" if own or line is None else "the class around the function"

    return Subject(
        name=spec,
        spec=f"{file}::{CLASS}",
        config=config,
        assumptions=(
            f"The claim of {name} is the noise multiplier {config.noise_multiplier:.6g} at every step, and clipping bound "
            f"{config.max_grad_norm:g}.",
        ),
        place=place,
    )
