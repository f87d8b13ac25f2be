"""The optional forms, written out: they compute what the harness computes."""

import pytest
import torch

from dpaudit.contract import Form, UsageError
from dpaudit.contract.forms import class_in_form, cut_into_chunks, in_form, methods_of

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


class Counting:
    """What stands for a chunk of per-sample gradients."""

    def __init__(self, c, z, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta):
        self.chunks = []

    def begin_step(self, step, epoch):
        self.chunks = []

    def accumulate(self, chunk):
        self.chunks.append([grad.tolist() for grad in chunk])

    def finalize(self):
        return self.chunks


def test_a_batch_cut_into_chunks_reaches_the_mechanism_in_several_calls_and_whole():
    text, name = in_form(TEXT, "Mine", Form.CHUNKS)
    cut = cut_into_chunks(text, name)
    assert cut.startswith(TEXT)
    assert cut != text
    space = {}
    exec(compile(cut.replace(TEXT, "from tests.contract.test_forms import Counting as Mine\n"), "mine", "exec"), space)
    mechanism = space[name](1.0, 1.0, 3, 100, 4, 1, 1.0, 1e-5)
    rows = [torch.arange(5.0), torch.arange(5.0) + 10]
    assert mechanism.clip_and_noise(rows, 0, 1) == [[[0, 1], [10, 11]], [[2, 3], [12, 13]], [[4], [14]]]
    assert mechanism.clip_and_noise([torch.zeros(0)], 0, 1) == [[[]]]


def test_nothing_else_is_cut():
    chunks, name = in_form(TEXT, "Mine", Form.CHUNKS)
    assert cut_into_chunks(chunks + "\nlater = 1\n", name) == chunks + "\nlater = 1\n"
    assert cut_into_chunks(chunks, "Mine") == chunks
    assert cut_into_chunks(TEXT, "Mine") == TEXT
    weights, weighted = in_form(TEXT, "Mine", Form.WEIGHTS)
    assert cut_into_chunks(weights, weighted) == weights
