"""The run directory's records: what a training run leaves behind for a later audit.

Files of a run directory: ``run.json`` (:class:`RunRecord`), ``ledger.jsonl`` (one :class:`LedgerRow` a line),
``metrics.jsonl``, checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .run_config import RunConfig
from .words import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One step of a real training run.

    Attributes:
        step, epoch: step from 0, epoch from 1.
        rows_seen: rows of the tensors that the mechanism was given.
        rows_sampled: examples that the sampler drew.
        rows_truncated: sampled examples dropped by the cap on rows.
        rows_nonfinite: rows that the guard set to zero.
        reported_sigma: what ``get_effective_sigma`` said right after the step; ``None`` where it was no usable number.
        measured_noise: noise multiplier measured by replaying the step from its saved state; ``None`` until replayed.
        largest_contribution: the farthest that one row of the batch moved the released update in that replay, as a multiple
            of the update's own unit (L2 norm); ``None`` until replayed.
    """

    step: int
    epoch: int
    rows_seen: int
    rows_sampled: int
    rows_truncated: int
    rows_nonfinite: int
    reported_sigma: float | None
    measured_noise: float | None = None
    largest_contribution: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One seed of one training run.

    Attributes:
        directory: where its files are.
        mechanism, class_name, source_sha256: which code trained.
        dataset: name as printed beside every accuracy, e.g. ``CIFAR-10 (JPEG copy)``.
        config: the public facts under which it ran.
        seed: seed of all its generators.
        completed: False for a run that was interrupted.
        accuracy: test accuracy of the FINAL model, in percent; ``None`` if not completed.
        best_accuracy_on_test: maximum over epochs on the test set, percent. A labelled extra: choosing by it is optimistic.
        seconds: wall time of training.
        ledger: every step.
        form: the form of the interface that trained.
        recipe: optimiser, schedule, averaging and augmentation, as plain data.
        engine: precision, shapes and the physical batch, as plain data.
        versions: package versions and device.
        metrics: the benchmark's own names (``accuracy_mnist``, ``epsilon_mnist``, ``best_accuracy_mnist``, ...).
        canaries: training examples that were replaced by canaries; such a run's accuracy is not that of the plain data set.
        features: settings of the features in the place of images, as plain data; empty for images, and where the run is older
            than this field.
    """

    directory: str
    mechanism: str
    class_name: str
    source_sha256: str
    dataset: str
    config: RunConfig
    seed: int
    completed: bool
    accuracy: float | None
    best_accuracy_on_test: float | None
    seconds: float
    ledger: tuple[LedgerRow, ...]
    form: Form = Form.PLAIN
    recipe: Mapping[str, object] = field(default_factory=dict)
    engine: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    canaries: int = 0
    features: Mapping[str, object] = field(default_factory=dict)
