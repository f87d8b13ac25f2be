"""One run in progress: its parts, one step, the end of an epoch, and its state for a checkpoint."""

import dataclasses
import json
import platform
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import Form, LedgerRow, Rows, RunRecord

from .canaries import CanaryRows
from .checkpoint import Progress, pickle_mechanism
from .datasets import Dataset
from .evaluation import measured_accuracy
from .generators import noise_states
from .logical_batch import LogicalBatch
from .mechanism_step import copy_into_gradients, reported_sigma
from .recording import Recorder
from .reported_epsilon import reported_epsilon
from .run_json import config_to_json
from .run_parts import Parts, Request, build_parts


class Run:
    """A training run between two steps. Call ``begin`` once, then ``step`` and ``end_epoch``."""

    def __init__(self, request: Request, *, recorder: Recorder | None = None) -> None:
        self.request = request
        self.candidate = request.candidate
        self.settings = request.settings
        self.config = request.config
        self.seed = request.seed
        self.device = request.device
        self.recorder = recorder
        self.canaries: CanaryRows | None = None
        self.canary_count = 0
        self.steps_done = 0
        self.seconds = 0.0
        self.epoch_rows: list[dict[str, float]] = []
        self._rows: list[LedgerRow] = []
        self._pending_nonfinite: list[Tensor] = []
        self._parts: Parts | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to belong to this run."""
        return {
            "source_sha256": self.candidate.sha256,
            "class_name": self.candidate.class_name,
            "config": json.dumps(config_to_json(self.config)),
            "seed": self.seed,
            "canaries": self.canary_count,
            "recipe": json.dumps(self.request.recipe.to_json()),
            "features": json.dumps(self.features),
            "engine": json.dumps(self.request.engine.to_json()),
            "form": None if self.request.form is None else str(self.request.form),
            "device": self.device.type,
            "processes": self.request.group.size,
            # Both change the order of float additions, and with it the last bits.
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
        }

    @property
    def features(self) -> dict[str, Any]:
        """What stands in the place of images, as plain data; empty for images."""
        return {} if self.settings.features is None else self.settings.features.to_json()

    @property
    def sigmas(self) -> list[float | None]:
        """The reported sigma of every step so far."""
        return [row.reported_sigma for row in self._rows]

    @property
    def parts(self) -> Parts:
        """What ``begin`` built."""
        if self._parts is None:
            raise RuntimeError("run: begin() comes first")
        return self._parts

    def begin(self, data: Dataset, saved: Progress | None, *, ledger: tuple[LedgerRow, ...]) -> None:
        """Build every part, from the seed or from a checkpoint. The global generators are already seeded.

        Raises:
            MechanismError: the candidate's definitions, its constructor or its form failed.
            UsageError: the network mixes examples, or the checkpoint's mechanism cannot be restored.
        """
        if saved is not None:
            self._continue(saved, ledger)
        self._parts = build_parts(self.request, data, saved)

    def _continue(self, saved: Progress, ledger: tuple[LedgerRow, ...]) -> None:
        if len(ledger) < saved.steps_done:
            raise RuntimeError(f"resume: the ledger has {len(ledger)} steps, the checkpoint {saved.steps_done}")
        self.steps_done = saved.steps_done
        self.seconds = saved.seconds
        self.epoch_rows = [dict(row) for row in saved.epochs]
        self._rows = list(ledger[: saved.steps_done])

    def step(self) -> None:
        """One logical step: draw rows, hand their gradients to the mechanism, apply what it releases."""
        parts, config, step = self.parts, self.config, self.steps_done
        epoch = config.epoch_of(step)
        draw = parts.sampler.draw()
        batch = self._batch(draw.indices)
        if self.recorder is not None:
            self.recorder.before(
                step=step,
                epoch=epoch,
                indices=batch.indices,
                rows=batch.rows,
                model=parts.model,
                mechanism=parts.mechanism,
            )
        released = parts.stepper.release(batch, step=step, epoch=epoch)
        if self.recorder is not None:
            self.recorder.after(released.gradients)
        sigma = None
        if parts.form is Form.WEIGHTS or self.request.group.rank == 0:  # of the others' mechanisms no step was asked
            sigma = reported_sigma(parts.mechanism, step=step, epoch=epoch, file=self.candidate.path)
        self._apply(released.gradients, step)
        seen, sampled, truncated = self.request.group.total([batch.rows, draw.sampled, draw.truncated])
        self._pending_nonfinite.append(released.nonfinite)
        self._rows.append(
            LedgerRow(
                step=step,
                epoch=epoch,
                rows_seen=seen,
                rows_sampled=sampled,
                rows_truncated=truncated,
                rows_nonfinite=0,
                reported_sigma=sigma,
            )
        )
        self.steps_done += 1

    def _batch(self, drawn: Tensor) -> LogicalBatch:
        parts, recipe = self.parts, self.request.recipe
        present, rows = (drawn, len(drawn)) if self.canaries is None else self.canaries.present(drawn)
        indices = present.to(self.device)
        return LogicalBatch(
            data=parts.data,
            indices=indices,
            rows=self.config.batch_size if self.config.cell.rows is Rows.CONSTANT else rows,
            augmenter=parts.augmenter,
            drawn=parts.augmenter.draw(len(indices), height=parts.data.train_images.shape[-1]),
            views=recipe.views,
            channels_last=self.request.engine.channels_last,
            canaries=self.canaries,
        )

    def _apply(self, released: list[Tensor], step: int) -> None:
        """From here on everything is post-processing of what was released."""
        parts = self.parts
        for group in parts.optimiser.param_groups:
            group["lr"] = parts.rates[step]
        copy_into_gradients(parts.model, released)
        parts.optimiser.step()
        if parts.average is not None:
            parts.average.update(parts.model)

    def end_epoch(self, *, seconds: float) -> float:
        """Measure the test accuracy (percent) of the weights that would be released now, and log it."""
        parts = self.parts
        average = None if parts.average is None else parts.average.parameters()
        accuracy = measured_accuracy(parts.model, parts.data, average=average) if self.request.group.rank == 0 else 0.0
        self.epoch_rows.append(
            {
                "epoch": self.steps_done // self.config.steps_per_epoch,
                "test_accuracy": accuracy,
                "learning_rate": parts.rates[self.steps_done - 1],
                "seconds": round(seconds, 3),
            }
        )
        return accuracy

    def ledger(self) -> tuple[LedgerRow, ...]:
        """Every step so far. Counts that waited on the device are read here, once an epoch instead of once a step."""
        if self._pending_nonfinite:
            own = torch.stack([count.to(self.device) for count in self._pending_nonfinite]).tolist()
            counts = self.request.group.total(own)
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
            dataset=self._title(),
            config=self.config,
            seed=self.seed,
            completed=completed,
            accuracy=final,
            best_accuracy_on_test=best,
            seconds=self.seconds,
            ledger=self.ledger(),
            form=self.parts.form,
            recipe=self.request.recipe.to_json(),
            engine={**self.request.engine.to_json(), "physical_batch": self.parts.physical_batch},
            versions=self._versions(),
            metrics={name: value for name, value in metrics.items() if completed and value is not None},
            canaries=self.canary_count,
            features=self.features,
        )

    def _title(self) -> str:
        """The data set as every accuracy names it."""
        title = self.parts.data.title
        return f"{title}, with public data (ImageNet weights)" if self.request.recipe.public_weights else title

    def _versions(self) -> dict[str, str]:
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        return {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "device": f"{self.device.type} ({device})",
            "threads": str(torch.get_num_threads()),
            "processes": str(self.request.group.size),
        }

    def keep(self) -> None:
        """Write what the recorder kept, if there is one."""
        if self.recorder is not None:
            average, completed = self.parts.average, self.steps_done == self.config.total_steps
            final = self.parts.model.parameters() if average is None else average.parameters().values()
            self.recorder.flush(list(final), completed=completed)

    def snapshot(self) -> Progress:
        """The whole state, for a checkpoint; every process takes part."""
        parts = self.parts
        mechanism, problem = pickle_mechanism(parts.mechanism)
        return Progress(
            identity=self.identity,
            steps_done=self.steps_done,
            seconds=self.seconds,
            epochs=self.epoch_rows,
            parameters=parts.model.state_dict(),
            optimiser=parts.optimiser.state_dict(),
            average=None if parts.average is None else parts.average.state(),
            processes=cast(list[dict[str, Any]], self.request.group.gather(parts.own_state())),
            physical_batch=parts.physical_batch,
            noise=noise_states(),
            mechanism=mechanism,
            mechanism_problem=problem,
        )
