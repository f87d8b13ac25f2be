"""Files that anyone may have written, changed at random: read as they were meant, or refused in words. Never a traceback, and no
report becomes ACCEPTED by what was changed in it.

Each reader gets valid bytes with cuts, flips and insertions, and, where the format has a structure, a valid document with one
value replaced by another. ``DPAUDIT_POWER=1`` draws twenty times as many, and other ones each time.
"""

import copy
import gzip
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpaudit.accounting import epsilon_bracket
from dpaudit.adapters.ledger import read_ledger as read_recorded
from dpaudit.commands.accounts import read_schedule
from dpaudit.commands.attack_records import read_attack_record
from dpaudit.configuration import read_configuration
from dpaudit.contract import RunConfig, UsageError, Verdict
from dpaudit.contract.run_record import LedgerRow, RunRecord
from dpaudit.empirical.scores import read_csv, read_npz
from dpaudit.gate.expectations import read_expectations
from dpaudit.report import from_json
from harness.idx_files import read_idx
from harness.recipe import Engine, Recipe
from harness.run_directory import read_run, write_run

ROOT = Path(__file__).resolve().parents[2]
POWER = os.environ.get("DPAUDIT_POWER") == "1"
SETTINGS = settings(
    max_examples=1200 if POWER else 60, deadline=None, derandomize=not POWER, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

# ---- valid files --------------------------------------------------------------------------------------------------------


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, score=np.linspace(-1, 1, 12), member=np.arange(12) % 2, id=np.arange(12))
    return stream.getvalue()


FACTS = {
    "format": "dpaudit.ledger/1", "dataset_size": 1000, "batch_size": 50, "epochs": 1, "steps_per_epoch": 3, "max_grad_norm": 1.0,
    "target_epsilon": 3.0, "target_delta": 1e-5, "sampler": "poisson",
}  # fmt: skip
LEDGER = "\n".join(
    map(
        json.dumps,
        [FACTS, *({"step": step, "sigma": 1.0, "noise_std": 2.0, "max_contribution": 2.0} for step in range(3))],
    )
)
IDX = struct.pack(">HBBIII", 0, 8, 3, 2, 3, 4) + bytes(range(24))
CONFIGURATION = (
    b'[tool.dpaudit]\ntargets = ["a.py"]\npreset = "mnist"\nruns = 2\nlayers = ["static", "replay"]\ntime-limit = 3.5\n'
)
EXPECTED = b'["a.py"]\nverdict = "REJECTED"\nrules = ["DPA202"]\n["b.py"]\nverdict = ["ACCEPTED", "INCONCLUSIVE"]\n'
REPORT = ROOT / "reports" / "scatter" / "fmnist" / "report.json"
ATTACK = ROOT / "reports" / "mnist-canaries" / "attack.json"

READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "scores.npz": ("scores.npz", _npz(), read_npz),
    "scores.csv": ("scores.csv", b"id,score,member\n1,0.5,1\n2,-0.25,0\n3,1e3,1\n4,2,0\n", read_csv),
    "recorded ledger": ("ledger.jsonl", LEDGER.encode(), read_recorded),
    "idx": ("images", IDX, lambda path: read_idx(path, shape=(2, 3, 4))),
    "packed idx": ("images.gz", gzip.compress(IDX, mtime=0), lambda path: read_idx(path, shape=(2, 3, 4))),
    "configuration": ("pyproject.toml", CONFIGURATION, read_configuration),
    "expectations": ("expected.toml", EXPECTED, lambda path: read_expectations(path, "mnist")),
    "schedule": ("sigmas.txt", b"# a comment\n1.0\n2.5\n\n0.65\n", read_schedule),
    "report": ("report.json", REPORT.read_bytes(), lambda path: from_json(path.read_text(encoding="utf-8"))),
    "attack": ("attack.json", ATTACK.read_bytes(), lambda path: read_attack_record(str(path))),
}


def refused(read: Callable[[], object]) -> object | None:
    """What was read, or ``None`` after a refusal that says something."""
    try:
        return read()
    except UsageError as error:
        said = str(error)
    assert len(said) > 20
    return None


@pytest.mark.parametrize("name", list(READERS))
def test_the_valid_file_is_read(name, tmp_path):
    file, content, read = READERS[name]
    (tmp_path / file).write_bytes(content)
    assert read(tmp_path / file) is not None


# ---- bytes --------------------------------------------------------------------------------------------------------------

PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"NaN", b"Infinity", b"1e999", b"9" * 400, b"[" * 3000, b"{" * 3000, b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"-0",
         b"\r\n", b'"', b"\\u0000", b"\\ud800", b"1" * 5000]
    ),
)  # fmt: skip


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after up to four changes: cut short, a byte flipped, a piece put in, a stretch taken out or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        at, more = draw(st.integers(0, max(0, len(content) - 1))), draw(st.integers(1, 40))
        match draw(st.sampled_from(["cut", "flip", "insert", "remove", "double"])):
            case "cut":
                content = content[:at]
            case "flip":
                content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
            case "insert":
                content = content[:at] + draw(PIECES) + content[at:]
            case "remove":
                content = content[:at] + content[at + more :]
            case _:
                content = content[: at + more] + content[at:]
    return content


@pytest.mark.parametrize("name", [name for name in READERS if name != "report"])
def test_changed_bytes_are_read_or_refused(name, tmp_path):
    file, content, read = READERS[name]

    @SETTINGS
    @given(changed_bytes(content))
    def run(changed: bytes) -> None:
        (tmp_path / file).write_bytes(changed)
        refused(lambda: read(tmp_path / file))

    run()


@pytest.mark.parametrize("name", list(READERS))
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"\xff" * 100, b"[" * 100_000, b"{}", b"[]", b"0", b"PK\x03\x04", b"\n"]
)
def test_other_files_are_refused(name, content, tmp_path):
    file, _, read = READERS[name]
    (tmp_path / file).write_bytes(content)
    if name in {"report", "attack"} and b"\xff" in content:
        return  # the commands decode, and say so themselves
    found = refused(lambda: read(tmp_path / file))
    assert found is None or len(found) == 0 or name == "schedule"


@pytest.mark.parametrize(
    "name", ["scores.npz", "configuration", "expectations", "recorded ledger", "schedule", "attack"]
)
def test_what_is_no_file_is_refused(name, tmp_path):
    file, _, read = READERS[name]
    if name != "configuration":
        assert refused(lambda: read(tmp_path / "absent")) is None
    (tmp_path / file).mkdir()
    assert refused(lambda: read(tmp_path / file)) is None


# ---- values -------------------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.sampled_from([10**400, -1, 0, 1e308, 5e-324, -0.0, "ACCEPTED", "REJECTED", "poisson", [1, 2], {"a": 1}, [[[[]]]], ""]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document; of long lists the first three entries."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:3]):
            found += places(inner, (*path, index))
    return found


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """One value replaced, or one key taken away or added."""
    document = copy.deepcopy(document)
    *before, last = draw(st.sampled_from(places(document)))
    holder = document
    for key in before:
        holder = holder[key]
    match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
        case "remove":
            del holder[last]
        case "add" if isinstance(holder, dict):
            holder["surplus"] = draw(VALUES)
        case _:
            holder[last] = draw(VALUES)
    return document


def _overspending() -> Any:
    """An INCONCLUSIVE audit whose upper end is above the target, and whose schedule is short enough to be changed often."""
    document = json.loads(REPORT.read_text(encoding="utf-8"))
    document["audits"] = document["audits"][:1]
    (audit,) = document["audits"]
    assert audit["verdict"] == "ACCEPTED"
    audit["verdict"], audit["epsilon"]["replayed"], audit["certificate"] = "INCONCLUSIVE", [None, 99.0], {}
    for name, value in audit["sigma"].items():
        audit["sigma"][name] = value[:4] if isinstance(value, list) and len(value) > 4 else value
    return document


def test_no_change_of_one_value_makes_a_report_accepted_that_was_not():
    document = _overspending()
    assert [report.verdict for report in from_json(json.dumps(document))] == [Verdict.INCONCLUSIVE]
    forged = copy.deepcopy(document)
    forged["audits"][0]["verdict"] = "ACCEPTED"
    with pytest.raises(UsageError, match="verdict: expected with ACCEPTED an upper end of epsilon at most the target"):
        from_json(json.dumps(forged))

    @SETTINGS
    @given(changed_document(document), st.booleans())
    def run(changed: Any, forge: bool) -> None:
        if (
            forge
            and isinstance(changed.get("audits"), list)
            and changed["audits"]
            and isinstance(changed["audits"][0], dict)
        ):
            changed["audits"][0]["verdict"] = "ACCEPTED"
        text = json.dumps(changed)
        for report in refused(lambda: from_json(text)) or ():
            assert report.verdict is not Verdict.ACCEPTED or report.epsilon.replayed.upper <= report.epsilon.target

    run()


def test_a_changed_attack_record_is_read_or_refused(tmp_path):
    path = tmp_path / "attack.json"

    @SETTINGS
    @given(changed_document(json.loads(ATTACK.read_text(encoding="utf-8"))))
    def run(changed: Any) -> None:
        path.write_text(json.dumps(changed))
        refused(lambda: read_attack_record(str(path)))

    run()


def test_a_changed_ledger_is_read_or_refused_and_demonstrates_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    lines = [json.loads(line) for line in LEDGER.splitlines()]

    @SETTINGS
    @given(changed_document(lines))
    def run(changed: Any) -> None:
        path.write_text("\n".join(json.dumps(line) for line in changed))
        found = refused(lambda: read_recorded(path))
        assert found is None or not found.measurement.demonstrated

    run()


def _run_directory(folder: Path) -> None:
    config = RunConfig(
        dataset_size=1000, batch_size=50, expected_batch=50.0, epochs=1, steps_per_epoch=3, max_grad_norm=1.0, target_epsilon=3.0,
        target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((2, 3), (2,)),
    )  # fmt: skip
    ledger = tuple(
        LedgerRow(
            step=step, epoch=1, rows_seen=50, rows_sampled=50, rows_truncated=0, rows_nonfinite=0, reported_sigma=1.0
        )
        for step in range(3)
    )
    record = RunRecord(
        directory=str(folder), mechanism="m.py", class_name="DPMechanism", source_sha256="0" * 64, config=config,
        dataset="digits", seed=0, completed=True, ledger=ledger, accuracy=0.5, best_accuracy_on_test=0.5, seconds=1.0,
        recipe=Recipe().to_json(), engine=Engine().to_json(),
    )  # fmt: skip
    write_run(folder, record, epochs=[{"epoch": 1.0}])


@pytest.mark.parametrize("file", ["run.json", "ledger.jsonl"])
def test_a_changed_run_directory_is_read_or_refused(file, tmp_path):
    _run_directory(tmp_path)
    assert read_run(tmp_path)
    content = (tmp_path / file).read_bytes()
    document = [json.loads(line) for line in content.splitlines()] if file.endswith("l") else json.loads(content)

    @SETTINGS
    @given(st.one_of(changed_bytes(content), changed_document(document)))
    def run(changed: Any) -> None:
        if not isinstance(changed, bytes):
            lines = [json.dumps(line) for line in changed] if file.endswith("l") else [json.dumps(changed)]
            changed = "\n".join([*lines, ""]).encode()
        (tmp_path / file).write_bytes(changed)
        record = refused(lambda: read_run(tmp_path))
        if record is not None:
            assert record.config.target_epsilon > 0

    run()


@SETTINGS
@given(st.lists(st.floats(), max_size=4), st.floats(), st.floats())
def test_an_accountant_answers_or_refuses_any_numbers(sigmas, q, delta):
    from dpaudit.contract import Cell, EventTrace

    def account() -> object:
        return epsilon_bracket(EventTrace(cell=Cell(), sampling_probability=q, sigmas=tuple(sigmas)), delta)

    found = refused(account)
    if found is not None:
        assert 0 <= found.lower <= found.upper
