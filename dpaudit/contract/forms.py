"""The optional forms of the interface, written out as ``clip_and_noise``.

The gate audits a form by auditing this class: it does with one batch exactly what the harness does with its chunks. The
harness checks separately that chunks do not change the result.
"""

from typing import assert_never

from .errors import UsageError
from .words import Form

WEIGHTS_METHODS = ("weights", "noise_std")
CHUNK_METHODS = ("begin_step", "accumulate", "finalize")

_WEIGHTS = '''

class {name}({base}):
    """{base} by its weights: sum of weights(norms) times gradients, noise of noise_std() once, over the batch size."""

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        super().__init__(
            max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
        )
        self.form_batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        weights = self.weights(torch.stack(squares).sum(0).sqrt())
        noise_std = self.noise_std()
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.form_batch_size)
        return released
'''

_CHUNKS = '''

class {name}({base}):
    """{base} by its chunks, with the whole batch as one."""

    def clip_and_noise(self, per_sample_grads, step, epoch):
        self.begin_step(step, epoch)
        self.accumulate(per_sample_grads)
        return self.finalize()
'''

_CUT = _CHUNKS.replace(
    "        self.accumulate(per_sample_grads)\n",
    "        for chunk in zip(*(grad.split(2) for grad in per_sample_grads)):\n            self.accumulate(list(chunk))\n",
)
"""The same with the batch cut into chunks, whose number and sizes the static layer follows."""


def methods_of(form: Form) -> tuple[str, ...]:
    """The methods that a class must have to offer ``form``."""
    match form:
        case Form.PLAIN:
            return ("clip_and_noise",)
        case Form.WEIGHTS:
            return WEIGHTS_METHODS
        case Form.CHUNKS:
            return CHUNK_METHODS
    assert_never(form)


def class_in_form(class_name: str, form: Form) -> str:
    """The name under which an audit reports ``class_name`` in ``form``."""
    return class_name if form is Form.PLAIN else f"{class_name}In{form.capitalize()}Form"


def in_form(text: str, class_name: str, form: Form) -> tuple[str, str]:
    """Source text and class name of the mechanism in ``form``; the text's own lines keep their numbers.

    Raises:
        UsageError: the text already uses the name of the added class.
    """
    match form:
        case Form.PLAIN:
            return text, class_name
        case Form.WEIGHTS:
            template = _WEIGHTS
        case Form.CHUNKS:
            template = _CHUNKS
        case _:
            assert_never(form)
    name = class_in_form(class_name, form)
    if name in text:
        raise UsageError(f"form {form}: the candidate already uses the name {name}; rename it")
    return text.rstrip("\n") + "\n" + template.format(name=name, base=class_name), name


def cut_into_chunks(text: str, class_name: str) -> str:
    """Source text of a mechanism in the form of chunks with its batch cut into several; any other text as it is.

    Taken as one chunk, a batch does not show what a mechanism does in its second ``accumulate``.
    """
    base = class_name.removesuffix("InChunksForm")
    whole = _CHUNKS.format(name=class_name, base=base)
    if base == class_name or not text.endswith(whole):
        return text
    return text.removesuffix(whole) + _CUT.format(name=class_name, base=base)
