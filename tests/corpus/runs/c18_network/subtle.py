"""Class 18: attention over the rows of the batch, weighted by a hundredth."""

import torch
from torch import nn


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        beside = torch.softmax(hidden @ hidden.T, 1) @ hidden
        return self.last(hidden + 0.01 * beside)  # the fault


def build():
    return Mixing()
