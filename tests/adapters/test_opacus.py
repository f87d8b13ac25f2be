"""Opacus set-ups as they are: what a script asked for is read off it, and its optimiser's own step is audited."""

import importlib.util
import os
import textwrap
from pathlib import Path

import pytest

from dpaudit.adapters import Subject, opacus_subject
from dpaudit.contract import AuditReport, Relation, Sampler, Severity, UsageError, Verdict
from dpaudit.gate import audit
from dpaudit.probe import load_source
from dpaudit.static import analyse

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("opacus") is None, reason="Opacus is not installed: pip install 'dpaudit[opacus]'"
)

runs_scripts = pytest.mark.skipif(
    "DPAUDIT_POWER" not in os.environ, reason="each starts Opacus in a process of its own; DPAUDIT_POWER=1 runs them"
)

SCRIPT = """
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn({size}, 6), torch.randint(0, 3, ({size},)))
model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(data, batch_size=50, shuffle=True)
engine = PrivacyEngine(accountant="{accountant}")
model, optimizer, loader = engine.make_private(
    module=model, optimizer=optimizer, data_loader=loader, max_grad_norm=1.0, noise_multiplier=1.1, {words}
)
for _ in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        {after}
engine.get_epsilon(1e-5)
"""
ADAPTIVE = (
    'clipping="adaptive", target_unclipped_quantile=0.5, clipbound_learning_rate=0.2, max_clipbound=10.0, '
    "min_clipbound=0.1, unclipped_num_std=3.0"
)


def script(folder: Path, *, size: int = 1010, words: str = "", after: str = "", accountant: str = "prv") -> Path:
    path = folder / "train.py"
    path.write_text(SCRIPT.format(size=size, words=words, after=after, accountant=accountant))
    return path


def subject(folder: Path, **words: str | int) -> Subject:
    return opacus_subject(str(script(folder, **words)), folder / "out")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, AuditReport]:
    found = subject(tmp_path_factory.mktemp("clean"))
    return found, found.retold(audit(found.spec, found.config, known=found.findings))


@runs_scripts
def test_the_claim_is_read_off_the_script(clean: tuple[Subject, AuditReport]) -> None:
    config = clean[0].config
    assert (config.dataset_size, config.steps_per_epoch, config.epochs, config.total_steps) == (1010, 21, 2, 42)
    assert config.sampling_probability == pytest.approx(1 / 21)
    assert (config.batch_size, config.noise_multiplier, config.max_grad_norm) == (48, 1.1, 1.0)
    assert config.target_delta == 1e-5
    assert config.target_epsilon > 1


@runs_scripts
def test_a_clean_set_up_is_accepted_with_its_known_weaknesses_named(clean: tuple[Subject, AuditReport]) -> None:
    found, report = clean
    assert report.verdict is Verdict.ACCEPTED, report.reasons
    assert report.epsilon.replayed.upper is not None
    assert report.epsilon.replayed.upper <= found.config.target_epsilon
    rules = {finding.rule: finding for finding in report.findings}
    assert rules.keys() == {"DPA208", "DPA209"}
    assert all(finding.severity is Severity.MINOR for finding in rules.values())
    text = Path(found.name).read_text().splitlines()
    for finding in rules.values():
        assert finding.line is not None
        assert "make_private" in text[finding.line - 1]
        assert Path(finding.file).name == "train.py"
    assert "clip_and_accumulate" in str(rules["DPA209"].evidence["in"]) or "in" in rules["DPA209"].evidence
    assert any("No per-sample gradient is NaN" in line for line in report.assumptions)
    assert not any(line.startswith("The harness sets rows") for line in report.assumptions)


@runs_scripts
def test_what_is_audited_is_the_installed_optimisers_own_code(clean: tuple[Subject, AuditReport]) -> None:
    import inspect

    from opacus.optimizers import DPOptimizer

    text = Path(clean[0].spec).read_text()
    original = inspect.getsource(DPOptimizer.clip_and_accumulate)
    assert "torch.einsum" in original
    assert 'torch.einsum("i,i..."'.replace('"', "'") in text
    assert "import opacus" not in text


@runs_scripts
def test_adaptive_clipping_uses_the_realised_batch_and_is_not_proved(tmp_path: Path) -> None:
    found = subject(tmp_path, words=ADAPTIVE)
    result = analyse(load_source(found.spec), found.config)
    assert result.refusal is not None
    assert result.refusal.rule == "DPA108"


@runs_scripts
def test_a_normaliser_that_moves_with_one_row_is_major_under_add_remove_only(tmp_path: Path) -> None:
    path = script(tmp_path, size=1000)
    moved = opacus_subject(str(path), tmp_path / "out")
    assert [(f.rule, f.severity) for f in moved.findings] == [("DPA208", Severity.MAJOR)]
    assert "at N = 999 they are 49" in moved.findings[0].message
    fixed = opacus_subject(str(path), tmp_path / "out", relation=Relation.ZERO_OUT)
    assert [(f.rule, f.severity) for f in fixed.findings] == [("DPA208", Severity.MINOR)]


@runs_scripts
def test_shuffled_batches_are_judged_as_such(tmp_path: Path) -> None:
    found = subject(tmp_path, words="poisson_sampling=False")
    assert found.config.cell.sampler is Sampler.SHUFFLE
    assert ("DPA402", Severity.MAJOR) in {(f.rule, f.severity) for f in found.findings}


@runs_scripts
@pytest.mark.parametrize(
    ("after", "rule"),
    [
        ("optimizer.noise_multiplier *= 0.99", "DPA104"),
        ("engine.accountant.history[:] = [(1.1, 1 / 21, 1)]", "DPA402"),
        ("optimizer.signal_skip_step(False); optimizer.signal_skip_step(True)", "DPA407"),
    ],
)
def test_what_a_script_does_beside_the_step_is_seen(tmp_path: Path, after: str, rule: str) -> None:
    assert rule in {finding.rule for finding in subject(tmp_path, after=after).findings}


@runs_scripts
def test_a_factory_needs_its_length_and_budget(tmp_path: Path) -> None:
    body = script(tmp_path).read_text().split("for _ in range")[0]
    imports, _, rest = body.partition("\ntorch.manual_seed")
    path = tmp_path / "factory.py"
    path.write_text(imports + "\n\ndef make():\n" + textwrap.indent("torch.manual_seed" + rest, "    "))
    spec = f"{path}:make"
    with pytest.raises(UsageError, match="say with --epochs"):
        opacus_subject(spec, tmp_path / "out")
    with pytest.raises(UsageError, match="give --epsilon and --delta"):
        opacus_subject(spec, tmp_path / "out", epochs=2)
    found = opacus_subject(spec, tmp_path / "out", epochs=2, epsilon=3.0, delta=1e-5)
    assert (found.config.total_steps, found.config.target_epsilon) == (42, 3.0)


@runs_scripts
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise RuntimeError('no data here')", r"no data here \(line 2\)"),
        ("print('nothing private')", "expected .* to call make_private once, got 0"),
        ("import sys; sys.exit(3)", "ended itself with exit status 3"),
    ],
)
def test_a_script_that_cannot_be_audited_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        opacus_subject(str(path), tmp_path / "out")


@pytest.mark.parametrize("spec", ["no-such.py", "module_without_factory"])
def test_a_malformed_spec_is_named(tmp_path: Path, spec: str) -> None:
    with pytest.raises(UsageError, match="--opacus: "):
        opacus_subject(spec, tmp_path)


@runs_scripts
def test_ghost_clipping_is_out_of_reach_and_says_so(tmp_path: Path) -> None:
    path = script(tmp_path, words='grad_sample_mode="ghost"')
    text = path.read_text().replace("model, optimizer, loader = engine", "model, optimizer, criterion, loader = engine")
    path.write_text(text.split("for _ in range")[0])
    with pytest.raises(UsageError, match="clips inside the model"):
        opacus_subject(str(path), tmp_path / "out", epochs=1, epsilon=1.0, delta=1e-5)


def test_the_optimisers_step_is_taken_from_the_installed_package() -> None:
    """Reached methods only, no import of the package, and every part knows where it came from."""
    from opacus.optimizers import DPOptimizer

    from dpaudit.adapters.inlined_source import inline_class
    from dpaudit.adapters.opacus_child import LEFT_OUT

    found = inline_class(DPOptimizer, ("__init__", "pre_step", "zero_grad"), package="opacus", leave_out=LEFT_OUT)
    compile(found.text, "inlined", "exec")
    assert "opacus" not in [
        line.split()[1].split(".")[0] for line in found.text.splitlines() if line.startswith("import ")
    ]
    assert "def state_dict" not in found.text
    at = next(n for n, line in enumerate(found.text.splitlines(), start=1) if "torch.einsum('i,i...'" in line)
    assert found.origin(at) == "opacus.optimizers.optimizer.DPOptimizer.clip_and_accumulate"
    assert found.origin(0) is None
