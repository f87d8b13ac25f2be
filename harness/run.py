"""One run in progress: its parts, one step, the end of an epoch, and its state for a checkpoint."""

import dataclasses
import json
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dpaudit.contract import LedgerRow, NonFinite, Rows, RunConfig, RunRecord

from .canaries import CanaryRows
from .candidate import Candidate, Mechanism, construct, load_class
from .checkpoint import Progress, pickle_mechanism, unpickle_mechanism
from .datasets import Dataset
from .generators import noise_states, restore_noise_states, stream_seed
from .mechanism_step import copy_into_gradients, noised_gradients, reported_sigma
from .models import build_model
from .nonfinite import guard_nonfinite
from .per_sample import PerSampleGradients, per_sample_gradients
from .presets import Preset
from .recording import Recorder
from .reported_epsilon import reported_epsilon
from .run_json import config_to_json
from .samplers import BatchSampler, build_sampler

_EVALUATION_BATCH = 1_000


@dataclass(slots=True)
class _Parts:
    """What ``begin`` builds."""

    data: Dataset
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    sampler: BatchSampler
    gradients: PerSampleGradients
    mechanism: Mechanism


class Run:
    """A training run between two steps. Call ``begin`` once, then ``step`` and ``end_epoch``."""

    def __init__(
        self,
        *,
        candidate: Candidate,
        settings: Preset,
        config: RunConfig,
        seed: int,
        device: torch.device,
        recorder: Recorder | None = None,
    ) -> None:
        self.candidate = candidate
        self.settings = settings
        self.config = config
        self.seed = seed
        self.device = device
        self.recorder = recorder
        self.canaries: CanaryRows | None = None
        self.canary_count = 0
        self.steps_done = 0
        self.seconds = 0.0
        self.epoch_rows: list[dict[str, float]] = []
        self._rows: list[LedgerRow] = []
        self._pending_nonfinite: list[Tensor] = []
        self._parts: _Parts | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to belong to this run."""
        return {
            "source_sha256": self.candidate.sha256,
            "class_name": self.candidate.class_name,
            "config": json.dumps(config_to_json(self.config)),
            "seed": self.seed,
            "canaries": self.canary_count,
            "device": self.device.type,
            # Both change the order of float additions, and with it the last bits.
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
        }

    @property
    def sigmas(self) -> list[float | None]:
        """The reported sigma of every step so far."""
        return [row.reported_sigma for row in self._rows]

    @property
    def _built(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("run: begin() comes first")
        return self._parts

    @property
    def model(self) -> nn.Module:
        """The network as it stands."""
        return self._built.model

    def begin(self, data: Dataset, saved: Progress | None, *, ledger: tuple[LedgerRow, ...]) -> None:
        """Build every part, from the seed or from a checkpoint. The global generators are already seeded.

        Raises:
            MechanismError: the candidate's definitions or its constructor failed.
            UsageError: the checkpoint's mechanism cannot be restored, or its ledger is too short.
        """
        model = build_model(self.settings.model, seed=stream_seed(self.seed, "initialisation")).to(self.device)
        optimiser = torch.optim.SGD(model.parameters(), lr=self.settings.learning_rate, momentum=self.settings.momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=self.config.epochs)
        sampler = build_sampler(self.config, seed=stream_seed(self.seed, "sampling"))
        loaded = load_class(self.candidate)
        if saved is None:
            mechanism = construct(loaded, self.config, file=self.candidate.path)
        else:
            mechanism = unpickle_mechanism(saved, loaded)
            model.load_state_dict(saved.parameters)
            optimiser.load_state_dict(saved.optimiser)
            schedule.load_state_dict(saved.schedule)
            sampler.restore(saved.sampler)
            self._continue(saved, ledger)
            restore_noise_states(saved.noise)  # last: nothing after this may draw from the global generators
        self._parts = _Parts(
            data=data,
            model=model,
            optimiser=optimiser,
            schedule=schedule,
            sampler=sampler,
            gradients=per_sample_gradients(model),
            mechanism=mechanism,
        )

    def _continue(self, saved: Progress, ledger: tuple[LedgerRow, ...]) -> None:
        if len(ledger) < saved.steps_done:
            raise RuntimeError(f"resume: the ledger has {len(ledger)} steps, the checkpoint {saved.steps_done}")
        self.steps_done = saved.steps_done
        self.seconds = saved.seconds
        self.epoch_rows = [dict(row) for row in saved.epochs]
        self._rows = list(ledger[: saved.steps_done])

    def step(self) -> None:
        """One logical step: draw rows, hand their gradients to the mechanism, apply what it releases."""
        parts, config, step = self._built, self.config, self.steps_done
        epoch, file = config.epoch_of(step), self.candidate.path
        draw = parts.sampler.draw()
        chosen, rows = draw.indices, len(draw.indices)
        if self.canaries is not None:
            chosen, rows = self.canaries.present(chosen)
        if config.cell.rows is Rows.CONSTANT:
            rows = config.batch_size
        indices = chosen.to(self.device)
        images = parts.data.normalised(parts.data.train_images[indices])
        gradients = parts.gradients(images, parts.data.train_labels[indices], rows=rows)
        if self.canaries is not None:
            self.canaries.inject(gradients, chosen)
        guarded = config.cell.nonfinite is NonFinite.GUARDED
        self._pending_nonfinite.append(guard_nonfinite(gradients) if guarded else torch.zeros((), dtype=torch.int64))
        if self.recorder is not None:
            self.recorder.before(
                step=step, epoch=epoch, indices=chosen, rows=rows, model=parts.model, mechanism=parts.mechanism
            )
        noised = noised_gradients(parts.mechanism, gradients, step=step, epoch=epoch, file=file)
        if self.recorder is not None:
            self.recorder.after(noised)
        sigma = reported_sigma(parts.mechanism, step=step, epoch=epoch, file=file)
        copy_into_gradients(parts.model, noised)
        parts.optimiser.step()
        self._rows.append(
            LedgerRow(
                step=step,
                epoch=epoch,
                rows_seen=rows,
                rows_sampled=draw.sampled,
                rows_truncated=draw.truncated,
                rows_nonfinite=0,
                reported_sigma=sigma,
            )
        )
        self.steps_done += 1

    def end_epoch(self, *, seconds: float) -> float:
        """Step the learning rate, measure the test accuracy (percent) and log both."""
        parts = self._built
        rate = float(parts.optimiser.param_groups[0]["lr"])
        parts.schedule.step()
        accuracy = self._test_accuracy()
        self.epoch_rows.append(
            {
                "epoch": self.steps_done // self.config.steps_per_epoch,
                "test_accuracy": accuracy,
                "learning_rate": rate,
                "seconds": round(seconds, 3),
            }
        )
        return accuracy

    def _test_accuracy(self) -> float:
        parts = self._built
        images, labels = parts.data.test_images, parts.data.test_labels
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        with torch.no_grad():
            for start in range(0, len(images), _EVALUATION_BATCH):
                part = slice(start, start + _EVALUATION_BATCH)
                correct += (parts.model(parts.data.normalised(images[part])).argmax(1) == labels[part]).sum()
        return 100.0 * int(correct) / len(images)

    def ledger(self) -> tuple[LedgerRow, ...]:
        """Every step so far. Counts that waited on the device are read here, once an epoch instead of once a step."""
        if self._pending_nonfinite:
            counts = torch.stack([count.to(self.device) for count in self._pending_nonfinite]).tolist()
            first = len(self._rows) - len(counts)
            for offset, count in enumerate(counts):
                self._rows[first + offset] = dataclasses.replace(self._rows[first + offset], rows_nonfinite=count)
            self._pending_nonfinite.clear()
        return tuple(self._rows)

    def record(self, directory: str) -> RunRecord:
        """What ``run.json`` says of the run as it stands."""
        completed = self.steps_done == self.config.total_steps
        accuracies = [row["test_accuracy"] for row in self.epoch_rows]
        final = accuracies[-1] if completed else None
        best = max(accuracies) if accuracies else None
        epsilon = reported_epsilon(self.config, self.sigmas) if completed else None
        suffix = self.settings.metric
        metrics = {f"accuracy_{suffix}": final, f"best_accuracy_{suffix}": best, f"epsilon_{suffix}": epsilon}
        return RunRecord(
            directory=directory,
            mechanism=self.candidate.spec.partition("::")[0],
            class_name=self.candidate.class_name,
            source_sha256=self.candidate.sha256,
            dataset=self._built.data.title,
            config=self.config,
            seed=self.seed,
            completed=completed,
            accuracy=final,
            best_accuracy_on_test=best,
            seconds=self.seconds,
            ledger=self.ledger(),
            versions=self._versions(),
            metrics={name: value for name, value in metrics.items() if completed and value is not None},
            canaries=self.canary_count,
        )

    def _versions(self) -> dict[str, str]:
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        return {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "device": f"{self.device.type} ({device})",
            "threads": str(torch.get_num_threads()),
        }

    def keep(self) -> None:
        """Write what the recorder kept, if there is one."""
        if self.recorder is not None:
            self.recorder.flush(self._built.model, completed=self.steps_done == self.config.total_steps)

    def snapshot(self) -> Progress:
        """The whole state, for a checkpoint."""
        parts = self._built
        mechanism, problem = pickle_mechanism(parts.mechanism)
        return Progress(
            identity=self.identity,
            steps_done=self.steps_done,
            seconds=self.seconds,
            epochs=self.epoch_rows,
            parameters=parts.model.state_dict(),
            optimiser=parts.optimiser.state_dict(),
            schedule=parts.schedule.state_dict(),
            sampler=parts.sampler.state(),
            noise=noise_states(),
            mechanism=mechanism,
            mechanism_problem=problem,
        )
