"""``dpaudit table paper`` on run directories of the paper's presets: two steps each, on twenty images.

Network, optimiser, augmentation and averaging are the presets' own. Replaced are the data set's size and the batch, and the
table has to say so.
"""

import dataclasses
from pathlib import Path

import pytest
import torch

from dpaudit.cli import main
from dpaudit.commands.published import PAPER_LADDER, PAPER_PUBLIC_TABLE, PAPER_TABLE
from harness.datasets import Dataset
from harness.presets import PRESETS

ACCEPTED = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted"
SIZE = 20


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random images in the place of CIFAR-10, and presets that state their number."""
    generator = torch.Generator().manual_seed(5)
    data = Dataset(
        title="twenty random images",
        train_images=torch.randint(256, (SIZE, 3, 32, 32), generator=generator, dtype=torch.uint8),
        train_labels=torch.arange(SIZE) % 10,
        test_images=torch.randint(256, (10, 3, 32, 32), generator=generator, dtype=torch.uint8),
        test_labels=torch.arange(10),
        mean=torch.full((1, 3, 1, 1), 0.5),
        std=torch.full((1, 3, 1, 1), 0.25),
    )
    monkeypatch.setattr("harness.training.load_dataset", lambda _name, **_places: data)
    for name in [name for name in PRESETS if name.startswith("paper-")]:
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(PRESETS[name], dataset_size=SIZE))


@pytest.mark.usefixtures("images")
def test_runs_of_the_papers_presets_stand_beside_its_figures(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    out, table = tmp_path / "runs", tmp_path / "paper.md"
    settings = ("--batch-size", "10", "--epochs", "1", "--noise-multiplier", "1.2", "--quiet")
    for preset, mechanism, seeds in (
        ("paper-resnet20-rmsprop", "standard_dpsgd", "1,2"),
        ("paper-resnet20-sgd", "standard_dpsgd", "1"),
        ("paper-resnet20-sgd", "grouped_clipping", "1"),
        ("paper-resnet20-plain-sgd-256", "standard_dpsgd", "1"),
        ("paper-resnet20-groupnorm-sgd-256", "standard_dpsgd", "1"),
    ):
        file = str(ACCEPTED / f"{mechanism}.py")
        assert main(["train", file, "--preset", preset, "--seeds", seeds, "--out", str(out), *settings]) == 0
    assert main(["table", "paper", *map(str, sorted(out.iterdir())), "--out", str(table)]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.read_text().splitlines() if "|" in line]
    by_label = {(row[0], row[1]): row for row in rows if row[3] != "not run"}
    rmsprop = by_label["ResNet-20", "DP-RMSProp"]
    assert rmsprop[2] == "58.6 / 59.5 / 59.0 / 0.4"
    assert len(rmsprop[3].split(" / ")) == 4
    assert rmsprop[4] == "2"
    for words in ("standard_dpsgd, form weights", "1 of 50 epochs", "batch 10, not 4096", "twenty random images"):
        assert words in rmsprop[6]
    ladder = {row[0]: row for row in rows if row[0] in PAPER_LADDER}
    assert [number for number, row in ladder.items() if row[3] == "not run"] == ["3", "4"]
    assert "standard_dpsgd" in ladder["5"][6]
    assert "grouped_clipping" in ladder["6"][6]


def test_every_row_of_the_paper_has_a_preset_of_its_network() -> None:
    published = [preset for *_, preset in (*PAPER_TABLE, *PAPER_PUBLIC_TABLE)]
    ladder = [step.preset for step in PAPER_LADDER.values()]
    assert {*published, *ladder} <= set(PRESETS)
    assert [PRESETS[name].model for name in ladder[:3]] == ["ResNet20-plain", "ResNet20-groupnorm", "ResNet20"]
    assert [PRESETS[name].batch_size for name in ladder] == [256, 256, 256, 512, 1_024, 1_024]
