"""A test class to inherit from: everything that any mechanism must keep, checked in the user's own pytest run."""

import math
from typing import Any

from . import assertions
from .strategies import SHAPES


class MechanismConformance:
    """Inherit, and say how to make the mechanism::

        class TestMine(MechanismConformance):
            sigma = 1.1

            def make(self):
                return MyMechanism(1.0, 1.1, self.n_params, 1000, self.batch_size, 5, 3.0, 1e-5)

    A subclass that does not define :meth:`make` fails, so that no suite passes without a subject.

    Attributes:
        sigma: the claimed noise multiplier.
        max_grad_norm: C; the bound of one contribution unless ``bound`` says otherwise.
        bound: bound of one contribution on the sum; ``None`` means C.
        batch_size: the public divisor.
        shapes: parameter shapes of the small model.
        guards_nonfinite: whether rows with a NaN or an Inf must be survived.
        warm_up: steps after which the mechanism is examined again.
    """

    sigma: float = 1.0
    max_grad_norm: float = 1.0
    bound: float | None = None
    batch_size: int = 8
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    guards_nonfinite: bool = False
    warm_up: int = 3

    @property
    def n_params(self) -> int:
        """Coordinates of the small model."""
        return sum(math.prod(shape) for shape in self.shapes)

    def make(self) -> Any:
        """A fresh mechanism for ``shapes``, ``batch_size`` and ``max_grad_norm``."""
        raise NotImplementedError(f"{type(self).__name__}: define make(self) and return a fresh mechanism")

    def test_has_a_subject(self) -> None:
        """There is a mechanism with the interface."""
        mechanism = self.make()
        assert callable(mechanism.clip_and_noise)
        assert callable(mechanism.get_effective_sigma)

    def test_contribution_is_bounded(self) -> None:
        """No row moves the update by more than the noise is scaled for."""
        bound = self.max_grad_norm if self.bound is None else self.bound
        assertions.assert_bounded_contribution(
            self.make,
            sigma=self.sigma,
            batch_size=self.batch_size,
            noise_scale=self.sigma * bound,
            shapes=self.shapes,
            max_grad_norm=self.max_grad_norm,
            warm_up=self.warm_up,
        )

    def test_reported_sigma_is_the_claimed_one(self) -> None:
        """``get_effective_sigma`` does not exceed the claimed noise multiplier."""
        reported = float(self.make().get_effective_sigma(0, 1))
        assert 0 <= reported <= self.sigma * (1 + assertions.ROUNDING), f"reported {reported}, claimed {self.sigma}"

    def test_noise_ignores_data(self) -> None:
        """The noise does not depend on the rows."""
        assertions.assert_noise_ignores_data(self.make, shapes=self.shapes, max_grad_norm=self.max_grad_norm)

    def test_noise_is_fresh(self) -> None:
        """Noise differs between seeds and steps, and an empty batch has it too."""
        assertions.assert_fresh_noise(self.make, shapes=self.shapes, max_grad_norm=self.max_grad_norm)

    def test_release_is_finite(self) -> None:
        """Large, tiny and zero rows give a finite update."""
        assertions.assert_finite_release(
            self.make, nonfinite=self.guards_nonfinite, shapes=self.shapes, max_grad_norm=self.max_grad_norm
        )

    def test_input_is_unchanged(self) -> None:
        """The gradients are not written to."""
        assertions.assert_input_unchanged(self.make, shapes=self.shapes, max_grad_norm=self.max_grad_norm)

    def test_order_is_ignored(self) -> None:
        """Rows have no order."""
        assertions.assert_order_ignored(self.make, shapes=self.shapes, max_grad_norm=self.max_grad_norm)
