"""Files of a run directory beside its ledger, and tables of other commands, changed at random: read or refused in words."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.commands.run_logs import _metrics
from dpaudit.commands.sweep import _chosen_before
from dpaudit.contract import DataError, UsageError
from dpaudit.report.catch_matrix import read_specimens
from harness.canaries import CanaryPlan, read_canaries
from harness.checkpoint import CHECKPOINT_FILE, Progress, load_checkpoint
from harness.image_folder import _read_cache
from harness.recording import _load, read_step_states
from harness.repeated_training import _read as read_block
from harness.scattering_cache import _read as read_features
from harness.shadow_training import _read as read_shadow

from .test_readers import SETTINGS, changed_bytes, changed_document, refused


def _saved(values: object) -> bytes:
    stream = io.BytesIO()
    torch.save(values, stream)
    return stream.getvalue()


def _archive(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{name: np.asarray(value) for name, value in arrays.items()})
    return stream.getvalue()


def _array(values: object, dtype: type) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values, dtype=dtype))
    return stream.getvalue()


PROGRESS = {name: {} if name == "identity" else 0 for name in Progress.__dataclass_fields__}
CANARIES = {
    "schema": "", "plan": {"count": 1, "kinds": ["dirac"], "per_coordinate": 1},
    "canaries": [
        {"identifier": "c0", "kind": "dirac", "slot": 3, "label": 1, "coordinate": 2, "sign": 1, "included": True}
    ],
}  # fmt: skip
TABLE = {"rows": [{"mean": 90.0}, {"mean": 91.0}], "chosen": 1, "selection_epsilon": 0.5}
MATRIX = [
    {"path": "c01/broken.py", "sound": False, "verdict": "REJECTED", "as_it_must": True,
     "layers": {"static": {"outcome": "inconclusive"}}}
]  # fmt: skip
SHADOW = {"identity": "one", "member": [True, False], "margins": [0.5, 1.0], "population": [0.0], "accuracy": 0.5}
BLOCK = {"identity": "one", "losses": [[0.5]], "products": [[1.0]], "norms": [1.0], "sigmas": [1.0]}


def _text(read: Callable[[str], object]) -> Callable[[Path], object]:
    return lambda path: read(path.read_text(encoding="utf-8"))


FILES: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "checkpoint": (CHECKPOINT_FILE, _saved(PROGRESS), lambda path: load_checkpoint(path.parent, identity={})),
    "step state": ("recorded/state-0000001.pt", _saved({}), lambda path: read_step_states(path.parents[1])),
    "updates": ("updates-0000000.npy", _array([[1.0, 2.0]], np.float32), _load),
    "shadow model": ("shadow.npz", _archive(**SHADOW), lambda path: read_shadow(path, "one")),
    "repeated run": ("block.npz", _archive(**BLOCK), lambda path: read_block(path, "one")),
    "features": ("features.npy", _array(np.ones((2, 3)), np.float16), lambda path: read_features(path, (2, 3))),
    "decoded images": (
        "images.npz", _archive(images=np.zeros((1, 3, 32, 32), np.uint8)), lambda path: _read_cache(path, 1),
    ),
    "canaries": ("canaries.json", json.dumps(CANARIES).encode(), lambda path: read_canaries(path.parent)),
    "table of a sweep": ("table.json", json.dumps(TABLE).encode(), _chosen_before),
    "metrics": ("metrics.jsonl", b'{"epoch": 1, "test_accuracy": 0.5}\n' * 2, lambda path: _metrics(path.parent)),
}  # fmt: skip
MADE_AGAIN = {"features", "decoded images"}
INVALID = {"step state", "canaries"}
"""Whose start is only nearly valid: what it would need beside is not the point here."""


def _place(folder: Path, name: str, content: bytes) -> Path:
    path = folder / FILES[name][0]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", [name for name in FILES if name not in INVALID])
def test_the_valid_file_is_read(name, tmp_path):
    assert FILES[name][2](_place(tmp_path, name, FILES[name][1])) is not None


@pytest.mark.parametrize("name", list(FILES))
def test_changed_bytes_are_read_or_refused(name, tmp_path):
    _, content, read = FILES[name]

    @SETTINGS
    @given(changed_bytes(content))
    def run(changed: bytes) -> None:
        path = _place(tmp_path, name, changed)
        found = refused(lambda: read(path))
        assert name not in MADE_AGAIN or found is None or isinstance(found, torch.Tensor | np.ndarray)

    run()


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
OTHERS = {
    "nothing": b"", "zeros": b"\0" * 100, "a nest": b"[" * 100_000, "an object": b"{}", "a list": b"[]", "a number": b"0",
    "a cut archive": _archive(x=1)[:60], "another archive": _archive(x=1), "an array": _array(1, np.int64),
    "an array without end": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(HUGE) + 1) + HUGE + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("other", list(OTHERS))
def test_other_files_are_refused(name, other, tmp_path):
    if name == "metrics" and other in {"nothing", "an object"}:
        return  # no line, or one without a number: each is a list of objects
    found = refused(lambda: FILES[name][2](_place(tmp_path, name, OTHERS[other])))
    assert found is None or name == "updates"


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "3", '[{"layers": 1}]', "[NaN]"])
def test_a_catch_matrix_that_is_none_is_refused(text):
    with pytest.raises(DataError):
        read_specimens(text, "matrix.json")


def test_a_changed_catch_matrix_is_read_or_refused():
    assert read_specimens(json.dumps(MATRIX), "matrix.json")

    @SETTINGS
    @given(changed_document(MATRIX))
    def run(changed: object) -> None:
        refused(lambda: read_specimens(json.dumps(changed), "matrix.json"))

    run()


def test_a_changed_table_of_a_sweep_is_never_leave_to_choose_again(tmp_path):
    @SETTINGS
    @given(changed_document(TABLE))
    def run(changed: object) -> None:
        path = _place(tmp_path, "table of a sweep", json.dumps(changed).encode())
        found = refused(lambda: _chosen_before(path))
        assert found is None or 0 <= found["chosen"] < len(found["rows"])

    run()


def test_changed_canaries_are_read_or_refused(tmp_path):
    from harness.canaries import SCHEMA

    document = {**CANARIES, "schema": SCHEMA}
    path = _place(tmp_path, "canaries", json.dumps(document).encode())
    plan, canaries = read_canaries(path.parent)
    assert isinstance(plan, CanaryPlan)
    assert len(canaries) == 1

    @SETTINGS
    @given(st.one_of(changed_document(document), changed_bytes(json.dumps(document).encode())))
    def run(changed: object) -> None:
        path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
        found = refused(lambda: read_canaries(path.parent))
        assert found is None or len(found[1]) == found[0].count

    run()


def test_a_run_of_another_identity_is_a_usage_error(tmp_path):
    path = _place(tmp_path, "checkpoint", _saved({**PROGRESS, "identity": {"seed": 1}}))
    with pytest.raises(UsageError, match="belongs to another run"):
        load_checkpoint(path.parent, identity={"seed": 2})
    _place(tmp_path, "checkpoint", _saved({**PROGRESS, "identity": [1]}))
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(path.parent, identity={"seed": 2})
