"""Throughput and memory of a whole private step, ours against Opacus and functorch, on the same model and batch in one run.

    python benchmarks/throughput.py [--models MNISTNet,CIFAR10Net] [--batch 256] [--threads 1] [--repeats 5]
        [--no-memory] [--memory-batch 4096]

A step computes what the method needs of every row's gradient, clips rows jointly to one bound, sums them, adds noise and
takes an SGD step; ``not private`` is an ordinary step. The methods take turns, so that a change of the machine's load meets
all of them, and PROCESSOR time is what is compared (the median over the turns), so that other programs do not count.
Before timing, every method's update without noise is compared with one backward pass a row; a method of others that fails is
left out with the reason.

``floor`` is the least that handing over ``[B, P]`` gradients can cost: 3 * B * P * 4 bytes of memory traffic (written once,
read for the norms, read for the sum), in seconds at the bandwidth that a large copy reaches here.

``(channels last)`` is the same method with images and convolution weights in that memory layout. Our layer rules lay images out
so themselves; the other methods are measured both ways, so that ours are compared with the best of each.

Memory is the growth of the largest resident size over one logical batch, in a process of its own a method; Opacus
takes it in physical batches of 256, ours in the pieces that the harness finds. Opacus is
optional: ``pip install opacus``.
"""

import argparse
import copy
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.models import build_model
from harness.per_sample import FunctionalGradients, LayerGradients
from harness.physical_batch import find_physical_batch
from harness.whole_batch import PerSampleGradients

INPUTS = {"DigitsNet": (1, 8, 8), "MNISTNet": (1, 28, 28), "TanhMNISTNet": (1, 28, 28)}
COLOURED = (3, 32, 32)
CHECKED_ROWS = 8
PHYSICAL = 256
BOUND, RATE = 1.0, 0.1

Step = Callable[[Tensor, Tensor], None]
"""One step on a logical batch; changes the parameters of its own copy of the model."""


Builder = Callable[[nn.Module, float], Step]
"""Makes the step of one method for a model and a noise multiplier."""


def plain_step(model: nn.Module, noise: float) -> Step:
    """An ordinary step on the mean of the batch."""
    del noise
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(images: Tensor, labels: Tensor) -> None:
        optimiser.zero_grad()
        for part_images, part_labels in zip(images.split(PHYSICAL), labels.split(PHYSICAL), strict=True):
            loss = functional.cross_entropy(model(part_images), part_labels, reduction="sum") / len(images)
            loss.backward()
        optimiser.step()

    return step


def handed_over_step(model: nn.Module, noise: float, gradients: PerSampleGradients) -> Step:
    """Ours: all per-sample gradients to a mechanism of the plain form, here flat clipping."""
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(images: Tensor, labels: Tensor) -> None:
        rows = gradients(images, labels, rows=len(images))
        norms = torch.stack([row.flatten(1).square().sum(1) for row in rows]).sum(0).sqrt()
        weights = (BOUND / norms.clamp(min=1e-12)).clamp(max=1.0)
        for parameter, row in zip(model.parameters(), rows, strict=True):
            total = torch.tensordot(weights, row, dims=1)
            parameter.grad = (total + noise * BOUND * torch.randn_like(total)) / len(images)
        optimiser.step()

    return step


def weights_step(model: nn.Module, noise: float, gradients: PerSampleGradients) -> Step:
    """Ours in the weights form, as ``harness.forms.WeightsForm`` runs it: norms, weights and sum of one piece at a time."""
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(images: Tensor, labels: Tensor) -> None:
        totals = [torch.zeros_like(parameter) for parameter in model.parameters()]
        pieces = (value.split(gradients.physical_batch) for value in (images, labels))
        for part_images, part_labels in zip(*pieces, strict=True):
            chunk = gradients.chunk(part_images, part_labels)
            squares = chunk.squared_norms()
            bad = ~squares.isfinite()
            chunk.discard(bad)
            norms = squares.masked_fill(bad, 0).sqrt()
            chunk.add_weighted((BOUND / norms.clamp(min=1e-12)).clamp(max=1.0), totals)
        for parameter, total in zip(model.parameters(), totals, strict=True):
            parameter.grad = (total + noise * BOUND * torch.randn_like(total)) / len(images)
        optimiser.step()

    return step


def opacus_step(model: nn.Module, noise: float, mode: str) -> Step:
    """Opacus's own module and optimiser, in physical batches."""
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    sgd = torch.optim.SGD(model.parameters(), lr=RATE)
    settings = {"noise_multiplier": noise, "max_grad_norm": BOUND, "loss_reduction": "sum"}
    criterion: Callable[[Tensor, Tensor], Tensor] = nn.CrossEntropyLoss(reduction="sum")
    if mode == "ghost":
        wrapped = GradSampleModuleFastGradientClipping(
            model, max_grad_norm=BOUND, use_ghost_clipping=True, loss_reduction="sum"
        )
        optimiser = DPOptimizerFastGradientClipping(sgd, expected_batch_size=None, **settings)
        criterion = DPLossFastGradientClipping(wrapped, optimiser, criterion, loss_reduction="sum")
    else:
        wrapped = GradSampleModule(model, loss_reduction="sum", force_functorch=mode == "functorch")
        optimiser = DPOptimizer(sgd, expected_batch_size=None, **settings)

    def step(images: Tensor, labels: Tensor) -> None:
        parts = list(zip(images.split(PHYSICAL), labels.split(PHYSICAL), strict=True))
        for group in sgd.param_groups:
            group["lr"] = RATE / len(images)  # with the loss summed Opacus divides by nothing
        for number, (part_images, part_labels) in enumerate(parts):
            optimiser.signal_skip_step(number + 1 < len(parts))
            criterion(wrapped(part_images), part_labels).backward()
            optimiser.step()
            optimiser.zero_grad()

    return step


def channels_last_step(build: "Builder", model: nn.Module, noise: float) -> Step:
    """Another method's step with images and convolution weights laid out channels last."""
    inner = build(model.to(memory_format=torch.channels_last), noise)  # type: ignore[call-overload]

    def step(images: Tensor, labels: Tensor) -> None:
        inner(images.contiguous(memory_format=torch.channels_last), labels)

    return step


def pieces(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Rows at a time, as the harness finds them for a run."""
    return find_physical_batch(model, shape, device=torch.device("cpu"))


def builders(shape: tuple[int, ...], wanted: str = "") -> dict[str, Builder]:
    """Methods by name, those with ``wanted`` in it and ``not private``."""
    found: dict[str, Builder] = {
        "ours: weights form": lambda model, noise: weights_step(
            model, noise, LayerGradients(model, chunk=pieces(model, shape))
        ),
        "ours: layer rules": lambda model, noise: handed_over_step(
            model, noise, LayerGradients(model, chunk=pieces(model, shape))
        ),
        "ours: functorch": lambda model, noise: handed_over_step(
            model, noise, FunctionalGradients(model, chunk=pieces(model, shape))
        ),
    }
    others: dict[str, Builder] = {}
    try:
        import opacus  # noqa: F401
    except ImportError:
        print("opacus is not installed: its rows are left out", file=sys.stderr)
    else:
        for mode in ("hooks", "functorch", "ghost"):
            others[f"Opacus {mode}"] = partial(opacus_step, mode=mode)
    others["not private"] = plain_step
    found |= others
    if len(shape) == 3:
        found |= {f"{key} (channels last)": partial(channels_last_step, build) for key, build in others.items()}
    return {key: build for key, build in found.items() if wanted in key or key == "not private"}


def check(name: str, build: Builder, images: Tensor, labels: Tensor) -> None:
    """Every private method's update without noise against rows clipped one by one."""
    reference, total = build_model(name, seed=1), None
    for image, label in zip(images, labels, strict=True):
        loss = functional.cross_entropy(reference(image[None]), label[None])
        row = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(reference.parameters()))])
        row = row * min(1.0, BOUND / float(row.norm()))
        total = row if total is None else total + row
    before = torch.cat([parameter.detach().flatten() for parameter in reference.parameters()])
    model = copy.deepcopy(reference)
    build(model, 0.0)(images, labels)
    after = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert total is not None
    torch.testing.assert_close(before - after, RATE * total / len(images), rtol=1e-3, atol=1e-6)


def checked(name: str, found: dict[str, Builder], images: Tensor, labels: Tensor) -> dict[str, Builder]:
    """The methods whose update is right; ours must be. Another's is left out with words: its time would mean nothing."""
    kept = {}
    for key, build in found.items():
        try:
            if not key.startswith("not private"):
                check(name, build, images, labels)
        except (AssertionError, RuntimeError) as error:
            if key.startswith("ours"):
                raise
            print(f"{key} is left out of {name}: {' '.join(str(error).split())[:160]}")
        else:
            kept[key] = build
    return kept


def shape_of(name: str) -> tuple[int, ...]:
    """Of one image."""
    return INPUTS.get(name, COLOURED)


def batch(name: str, rows: int) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, *shape_of(name), generator=generator), torch.randint(10, (rows,), generator=generator)


def floor_seconds(rows: int, parameters: int) -> float:
    """Time of 3 * B * P * 4 bytes at the bandwidth of a copy of 256 MB, read and written."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    target.copy_(source)
    started = time.process_time()
    target.copy_(source)
    return 3 * rows * parameters * 4 / (2 * source.nbytes / (time.process_time() - started))


def print_throughput(name: str, rows: int, repeats: int, wanted: str) -> None:
    """One table of processor time."""
    images, labels = batch(name, rows)
    found = checked(name, builders(shape_of(name), wanted), images[:CHECKED_ROWS], labels[:CHECKED_ROWS])
    steps = {key: build(build_model(name, seed=1), 1.0) for key, build in found.items()}
    times: dict[str, list[float]] = {key: [] for key in found}
    for turn in range(repeats + 1):
        for key, step in steps.items():
            started = time.process_time()
            step(images, labels)
            if turn:  # one turn to warm up
                times[key].append(time.process_time() - started)
    medians = {key: statistics.median(values) for key, values in times.items()}
    model = build_model(name, seed=1)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    ours = min(median for key, median in medians.items() if key.startswith("ours") or wanted)
    print(
        f"\n{name}, {parameters:,} parameters, batch {rows}, ours in pieces of {pieces(model, shape_of(name))}: "
        "processor time of a step"
    )
    print(f"{'':30} {'ms':>8} {'samples/s':>10} {'x not private':>14} {'x best of ours':>15}")
    for key, median in medians.items():
        against = median / medians["not private"], median / ours
        print(f"{key:30} {1e3 * median:8.1f} {rows / median:10.0f} {against[0]:14.2f} {against[1]:15.2f}")
    bound = floor_seconds(rows, parameters)
    traffic = 3 * rows * parameters * 4
    print(f"{'floor':30} {1e3 * bound:8.1f} {rows / bound:10.0f}   ({traffic / 1e6:.0f} MB of memory traffic)")


def print_memory(name: str, rows: int, wanted: str) -> None:
    """One table of the growth of the largest resident size, a process a method."""
    parameters = sum(parameter.numel() for parameter in build_model(name, seed=1).parameters())
    print(f"\n{name}, logical batch {rows}: growth of the largest resident size")
    for key in builders(shape_of(name), wanted):
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, key, "--memory-batch", str(rows)],
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        shown = f"{float(done.stdout):8.0f} MB" if done.returncode == 0 else f"failed: {done.stderr.strip()[-200:]}"
        print(f"{key:30} {shown}", flush=True)
    print(f"{'[B, P] gradients':30} {rows * parameters * 4 / 1e6:8.0f} MB   (what the plain form hands over)")


def measure_one(name: str, key: str, rows: int) -> None:
    """In a process of its own: one small step to load everything, then one of the logical batch."""
    images, labels = batch(name, rows)
    step = builders(shape_of(name))[key](build_model(name, seed=1), 1.0)
    step(images[:CHECKED_ROWS], labels[:CHECKED_ROWS])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(images, labels)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="MNISTNet,CIFAR10Net")
    parser.add_argument("--methods", default="", help="only those with this in their name")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="0 for memory alone")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-batch", type=int, default=4096)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Opacus warns of hooks; nothing here depends on it
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        measure_one(*arguments.one, arguments.memory_batch)
        return
    print(f"torch {torch.__version__}, cpu, {arguments.threads} thread(s)")
    for name in arguments.models.split(","):
        if arguments.repeats:
            print_throughput(name, arguments.batch, arguments.repeats, arguments.methods)
        if not arguments.no_memory:
            print_memory(name, arguments.memory_batch, arguments.methods)


if __name__ == "__main__":
    main()
