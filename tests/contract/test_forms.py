"""The optional forms, written out: they compute what the harness computes."""

import pytest
import torch

from dpaudit.contract import Form, UsageError
from dpaudit.contract.forms import class_in_form, in_form, methods_of

TEXT = """import torch


class Mine:
    def __init__(self, c, z, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta):
        self.seen = []

    def weights(self, norms):
        return 1.0 / norms

    def noise_std(self):
        return 0.0

    def begin_step(self, step, epoch):
        self.seen.append((step, epoch))

    def accumulate(self, chunk):
        self.seen.append(len(chunk))

    def finalize(self):
        return self.seen
"""


def made(form):
    text, name = in_form(TEXT, "Mine", form)
    space = {}
    exec(compile(text, "mine", "exec"), space)
    return space[name](1.0, 1.0, 3, 100, 4, 1, 1.0, 1e-5)


def test_weights_are_of_norms_over_all_parameters_and_the_sum_is_over_the_batch_size():
    grads = [torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[4.0], [0.0]])]
    released = made(Form.WEIGHTS).clip_and_noise(grads, 0, 1)
    assert torch.allclose(released[0], torch.tensor([0.6, 1.0]) / 4)
    assert torch.allclose(released[1], torch.tensor([0.8]) / 4)


def test_chunks_are_the_whole_batch_as_one():
    assert made(Form.CHUNKS).clip_and_noise([1, 2, 3], 7, 2) == [(7, 2), 3]


def test_each_form_names_its_methods_and_its_class():
    assert methods_of(Form.PLAIN) == ("clip_and_noise",)
    assert methods_of(Form.WEIGHTS) == ("weights", "noise_std")
    assert methods_of(Form.CHUNKS) == ("begin_step", "accumulate", "finalize")
    assert [class_in_form("M", form) for form in Form] == ["M", "MInWeightsForm", "MInChunksForm"]


def test_the_text_keeps_its_lines_and_a_name_that_is_taken_is_refused():
    for form in (Form.WEIGHTS, Form.CHUNKS):
        text, name = in_form(TEXT + "\n\n", "Mine", form)
        assert text.startswith(TEXT)
        assert f"class {name}(Mine):" in text
        with pytest.raises(UsageError, match=f"already uses the name {name}"):
            in_form(text, "Mine", form)
    assert in_form(TEXT, "Mine", Form.PLAIN) == (TEXT, "Mine")
