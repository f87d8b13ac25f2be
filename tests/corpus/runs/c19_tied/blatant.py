"""Class 19: of a parameter that is used twice only the last use counts."""

import torch
from opacus import PrivacyEngine
from opacus.grad_sample import grad_sample_module
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(250, 6), torch.randint(0, 3, (250,)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.relu(self.shared(torch.relu(self.shared(x)))))


model = Net()

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(data, batch_size=24, shuffle=True)
engine = PrivacyEngine(accountant="rdp")


def keep_the_last(*, param, grad_sample, max_batch_len):
    param._current_grad_sample = grad_sample  # the fault


grad_sample_module.create_or_accumulate_grad_sample = keep_the_last
model, optimizer, loader = engine.make_private(
    module=model, optimizer=optimizer, data_loader=loader, max_grad_norm=1.0, noise_multiplier=1.1
)
for _ in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

engine.get_epsilon(1e-5)
