"""Class 6: every fifth step tries the step once more with gradients computed afresh."""

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(250, 6), torch.randint(0, 3, (250,)))

model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(data, batch_size=24, shuffle=True)
engine = PrivacyEngine(accountant="rdp")
model, optimizer, loader = engine.make_private(
    module=model, optimizer=optimizer, data_loader=loader, max_grad_norm=1.0, noise_multiplier=1.1
)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    return loss


steps = 0
for _ in range(2):
    for x, y in loader:  # noqa: B007
        closure()
        steps += 1
        again = closure if steps % 5 == 0 else None  # the fault
        if optimizer.pre_step():
            optimizer.original_optimizer.step(again)

engine.get_epsilon(1e-5)
