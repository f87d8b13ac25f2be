"""How long does the static layer take over a whole run? Processor seconds, the analysis alone (no process start).

Run: ``python benchmarks/static_speed.py [--steps 1170] [--limit 120]``. Prints one table in Markdown. Targets: 1 s for MNISTNet's
shapes, 10 s for ResNet-20's 65 tensors.
"""

import argparse
import time
from pathlib import Path

import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static import Candidate, analyse_source

MNISTNET = ((16, 1, 8, 8), (16,), (32, 16, 4, 4), (32,), (32, 512), (32,), (10, 32), (10,))
ROOT = Path(__file__).resolve().parent.parent
HEADER = """
import math
import torch


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.epochs = max_grad_norm, noise_multiplier, batch_size, epochs
        self.m = None

    def clip_and_noise(self, G, step, epoch):
"""
FLAT = """
        n = torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in G))
        w = torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + STD * torch.randn_like(s)) / self.B)
"""
CASES = {
    "flat clipping": FLAT.replace("STD", "self.sigma * self.C") + "        return out\n",
    "cosine schedule, every sigma distinct": FLAT.replace(
        "STD", "self.sigma * self.C * (1.5 + 0.5 * math.cos(math.pi * step / (self.epochs * 234)))"
    )
    + "        return out\n",
    "cosine schedule of clip and noise": FLAT.replace("STD", "self.sigma * c")
    .replace("self.C /", "c /")
    .replace(
        "        n =",
        "        c = self.C * (1.5 + 0.5 * math.cos(math.pi * step / (self.epochs * 234)))\n        n =",
        1,
    )
    + "        return out\n",
    "momentum of released updates": FLAT.replace("STD", "self.sigma * self.C")
    + "        self.m = out if self.m is None else [0.9 * m + o for m, o in zip(self.m, out)]\n"
    + "        return [m.clone() for m in self.m]\n",
    "per-layer clipping": """
        out = []
        for g in G:
            n = g.flatten(1).norm(dim=1)
            w = torch.clamp(self.C / math.sqrt(len(G)) / n.clamp(min=1e-12), max=1.0)
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
""",
    "automatic clipping": FLAT.replace("torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)", "1 / (n + 0.01)").replace(
        "STD", "self.sigma"
    )
    + "        return out\n",
}


def resnet20() -> tuple[tuple[int, ...], ...]:
    """The 65 parameter shapes of ResNet-20 with normalisation layers, CIFAR-10 widths 16, 32, 64."""
    shapes: list[tuple[int, ...]] = [(16, 3, 3, 3), (16,), (16,)]
    width = 16
    for planes in (16, 32, 64):
        for _ in range(3):
            shapes += [(planes, width, 3, 3), (planes,), (planes,), (planes, planes, 3, 3), (planes,), (planes,)]
            width = planes
    shapes += [(10, 64), (10,)]
    # Two projection shortcuts (weight, and the two parameters of their normalisation) would make 65.
    shapes += [(32, 16, 1, 1), (32,), (32,), (64, 32, 1, 1), (64,), (64,)]
    return tuple(shapes)


def config(shapes: tuple[tuple[int, ...], ...], steps: int) -> RunConfig:
    return RunConfig(
        dataset_size=60000,
        batch_size=256,
        expected_batch=256,
        epochs=max(1, steps // 234),
        steps_per_epoch=min(steps, 234),
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED),
        parameter_shapes=shapes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1170)
    parser.add_argument("--limit", type=float, default=300.0, help="wall seconds for one analysis")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = {name: HEADER + body for name, body in CASES.items()}
    for path in sorted((ROOT / "mechanisms" / "accepted").glob("*.py")):
        sources[path.stem] = path.read_text(encoding="utf-8")
    print("| mechanism | shapes | steps | sigma | processor s | analysed steps |\n|---|---|---|---|---|---|")
    for name, source in sources.items():
        for label, shapes in (("MNISTNet", MNISTNET), ("ResNet-20", resnet20())):
            if arguments.only not in f"{name} {label}":
                continue
            began = time.process_time()
            run = config(shapes, arguments.steps)
            result = analyse_source(Candidate(source=source, filename=name), run, time_limit=arguments.limit)
            spent = time.process_time() - began
            sigma = f"{min(result.sigma_effective):.6g}" if result.sigma_effective else f"refused {result.refusal.rule}"
            analysed = len(result.certificate.get("steps", ()))
            print(
                f"| {name} | {label}, {len(shapes)} tensors | {run.total_steps} | {sigma} | {spent:.2f} | {analysed} |"
            )


if __name__ == "__main__":
    main()
