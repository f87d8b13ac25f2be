"""Time of per-sample gradients, ours against others, on the same model, batch and threads in one run.

    python benchmarks/per_sample_gradients.py [--batch 256] [--threads 1] [--repeats 7] [--device cpu]

Every method computes the gradient of every row's cross-entropy for every parameter, except ``plain``, which is one
ordinary non-private backward pass and bounds what can be hoped for. The methods take turns, so that a change of the
machine's load meets all of them; the median over the turns is printed. Before timing, every method is compared with
one backward pass a row on the first rows. Opacus is optional: ``pip install opacus``.
"""

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.models import build_model
from harness.per_sample import CPU_CHUNK, DEVICE_CHUNK, FunctionalGradients, LayerGradients

INPUTS = {"MNISTNet": (1, 28, 28), "CIFAR10Net": (3, 32, 32)}
CHECKED_ROWS = 8


def methods(model: nn.Module, *, chunk: int) -> dict[str, Callable[[Tensor, Tensor], list[Tensor]]]:
    """The methods by name; each takes images and labels."""
    ours, functorch = LayerGradients(model, chunk=chunk), FunctionalGradients(model, chunk=chunk)

    def plain(images: Tensor, labels: Tensor) -> list[Tensor]:
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
        return list(torch.autograd.grad(loss, list(model.parameters())))

    found: dict[str, Callable[[Tensor, Tensor], list[Tensor]]] = {
        "ours: layer rules": lambda images, labels: ours(images, labels, rows=len(images)),
        "ours: functorch": lambda images, labels: functorch(images, labels, rows=len(images)),
    }
    try:
        from opacus import GradSampleModule
    except ImportError:
        print("opacus is not installed: its row is left out", file=sys.stderr)
    else:
        wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")

        def opacus(images: Tensor, labels: Tensor) -> list[Tensor]:
            for parameter in wrapped.parameters():
                parameter.grad = None
                parameter.grad_sample = None
            functional.cross_entropy(wrapped(images), labels, reduction="sum").backward()
            return [parameter.grad_sample for parameter in wrapped.parameters()]

        found["Opacus hooks"] = opacus
    found["plain (not private)"] = plain
    return found


def check(found: dict[str, Callable[[Tensor, Tensor], list[Tensor]]], images: Tensor, labels: Tensor) -> None:
    """Every method against one backward pass a row; ``plain`` against their sum."""
    plain = found["plain (not private)"]
    rows = [plain(image[None], label[None]) for image, label in zip(images, labels, strict=True)]
    reference = [torch.stack(column) for column in zip(*rows, strict=True)]
    for name, method in found.items():
        values = method(images, labels)
        for value, expected in zip(values, reference, strict=True):
            torch.testing.assert_close(
                value, expected.sum(0) if method is plain else expected, rtol=1e-3, atol=1e-4, msg=name
            )


def seconds(method: Callable[[Tensor, Tensor], list[Tensor]], images: Tensor, labels: Tensor) -> float:
    """Wall time of one call, with the device idle before and after."""
    if images.device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    method(images, labels)
    if images.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Print one table a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--chunk", type=int, default=None)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Opacus warns of hooks; nothing here depends on it
    torch.set_num_threads(arguments.threads)
    chunk = arguments.chunk or (CPU_CHUNK if arguments.device == "cpu" else DEVICE_CHUNK)
    print(
        f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s), batch {arguments.batch}, chunk {chunk}"
    )
    generator = torch.Generator().manual_seed(0)
    for name, shape in INPUTS.items():
        model = build_model(name, seed=1).to(arguments.device)
        images = torch.randn(arguments.batch, *shape, generator=generator).to(arguments.device)
        labels = torch.randint(10, (arguments.batch,), generator=generator).to(arguments.device)
        found = methods(model, chunk=chunk)
        check(found, images[:CHECKED_ROWS], labels[:CHECKED_ROWS])
        times: dict[str, list[float]] = {key: [] for key in found}
        for turn in range(arguments.repeats + 2):
            for key, method in found.items():
                taken = seconds(method, images, labels)
                if turn >= 2:  # two turns to warm up
                    times[key].append(taken)
        fastest = statistics.median(times["ours: layer rules"])
        print(f"\n{name:22} {'ms a batch':>11} {'samples/s':>11} {'time / ours':>12}")
        for key, values in times.items():
            median = statistics.median(values)
            print(f"{key:22} {1e3 * median:11.1f} {arguments.batch / median:11.0f} {median / fastest:12.2f}")


if __name__ == "__main__":
    main()
