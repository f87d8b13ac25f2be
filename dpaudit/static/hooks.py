"""What the instrumented candidate calls: every operator, comparison, test, call, subscript and store passes here.

While a step is analysed this keeps three kinds of number from losing their track where Python would take them for plain
ones: tracked (private or released), from shapes, and from steps. Outside an analysis only the course is noted: which
blocks ran and how the tests came out.
"""

import operator
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayProxy
from .calls import Calls
from .distributions import draw_normal
from .joints import JointBook
from .operands import Operands
from .refusal import Reason, Refusal, follow, is_followed
from .scalars import Tracked, expression_of, wrap
from .session import Session
from .shape_numbers import full_value, is_shape_number, plain_value, size_value
from .shapes import ShapeBook, plain_shape
from .step_numbers import FUNCTIONS, StepBook, StepFloat, StepInt, is_plain, is_step_number, lift, plain_number

ROW = "row"
_SEQUENCES = (str, bytes, list, tuple)


class Hooks:
    """One object for the life of an instrumented module; sessions come and go.

    Attributes:
        trace: while a step is analysed: every public number that is computed with, by site.
        course: blocks that ran and outcomes of tests, watched or not.
        handled: names of the exceptions that the candidate catches.
        book: the numbers that may change from step to step.
        joints: where axes were joined and cut, in all of a run.
    """

    def __init__(self, filename: str, handled: frozenset[str] = frozenset()) -> None:
        self.filename, self.handled = filename, handled
        self.operands: Operands | None = None
        self.shapes: ShapeBook | None = None
        self.book: StepBook | None = None
        self.trace: list[tuple[int, object]] = []
        self.course: list[tuple[int, bool]] = []
        self.calls = Calls(self)
        self._middles: list[Any] = []
        self.joints = JointBook()

    @property
    def session(self) -> Session | None:
        return self.operands.session if self.operands is not None else None

    def watching(self) -> tuple[Operands, Session]:
        """The machinery of the analysis that is going on."""
        assert self.operands is not None
        return self.operands, self.operands.session

    # ---- what is noted ----------------------------------------------------------------------------------------

    def note(self, site: int, value: Any, depth: int = 0) -> None:
        """A public number that is computed with: it must not depend on the small shape that runs."""
        if isinstance(value, StepInt | StepFloat):
            self.trace.append((site, plain_number(value)))
        elif isinstance(value, Tracked | Tensor):
            return
        elif is_shape_number(value):
            self.trace.append((site, full_value(value)))
        elif isinstance(value, bool | int | float | str | np.generic):
            self.trace.append((site, value))
        elif isinstance(value, np.ndarray) and value.size <= 4096:
            self.trace.append((site, value.tobytes()))
        elif depth < 3 and isinstance(value, list | tuple) and len(value) <= 4096:
            for part in value:
                self.note(site, part, depth + 1)

    def seen(self, site: int, value: Any) -> Any:
        if self.operands is not None:
            self.note(site, value)
        return value

    def truth(self, site: int, value: Any) -> bool:
        outcome = bool(value)
        self.course.append((site, outcome))
        return outcome

    def mark(self, site: int) -> None:
        """A block begins."""
        self.course.append((site, True))

    def raised(self, site: int, error: Any) -> Any:
        """What the candidate raises itself, on a course that is followed."""
        return follow(error() if isinstance(error, type) else error)

    def caught(self, site: int) -> None:
        """A handler begins.

        An index beyond the rows that run, or a list too short to unpack, may be none at the real shape.
        """
        self.mark(site)
        error = sys.exc_info()[1]
        if self.operands is None or is_followed(error):
            return
        if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
            return
        _, session = self.watching()
        session.mark_line()
        session.refuse("DPA111", f"{type(error).__name__} is caught, which need not be raised at the real shape")

    def negation(self, site: int, value: Any) -> Any:
        if isinstance(value, Tracked) and self.operands is not None:
            return operator.eq(value, 0)
        return not self.truth(site, value)

    # ---- operators --------------------------------------------------------------------------------------------

    def binary(self, site: int, name: str, left: Any, right: Any) -> Any:
        if self.operands is None:
            return getattr(operator, name)(left, right)
        self.note(site, left)
        self.note(site, right)
        plain = name.removeprefix("i") if name.startswith("i") and name != "invert" else name
        plain = {"and": "and_", "or": "or_"}.get(plain, plain)
        return self._combined(name, plain, left, right)

    def _combined(self, name: str, formula: str, left: Any, right: Any) -> Any:
        """``left op right`` with neither side losing its track."""
        if isinstance(left, _SEQUENCES) or isinstance(right, _SEQUENCES):
            self._check_sequences(formula, left, right)
        if is_step_number(left) or is_step_number(right):
            if is_plain(left) and is_plain(right) and formula in FUNCTIONS:
                return lift(formula, left, right)
            left, right = self.settled_step(left, right), self.settled_step(right, left)
        if isinstance(left, Tracked):
            right = self._beside_tracked(right)
            left = self._as_array(left, right)
        elif isinstance(right, Tracked):
            left = self._beside_tracked(left)
            right = self._as_array(right, left)
        for mine, other in ((left, right), (right, left)):
            followed = isinstance(other, int | float | Tensor | ArrayProxy) and not isinstance(other, np.generic)
            if is_shape_number(mine) and not followed:
                self.calls.lost_shape(mine)
        result = getattr(operator, name)(left, right)
        if isinstance(result, set | frozenset):
            _, session = self.watching()
            session.mark_line()
            session.refuse("DPA116", "a set's order differs from process to process; use a list or a tuple")
        return result

    def _check_sequences(self, formula: str, left: Any, right: Any) -> None:
        """Text, and comparisons element by element, read numbers where nobody watches."""
        if formula in {"lt", "le", "gt", "ge", "eq", "ne"} or isinstance(left, str | bytes):
            self.calls.pin_inside(left)
            self.calls.pin_inside(right)
            if isinstance(left, str | bytes):
                self.calls.check_text(right)
                self.calls.lose_inside(right)
            if self.calls.holds_tracked(left) or self.calls.holds_tracked(right):
                self.calls.escape("a text or a comparison of lists")

    def settled_step(self, value: Any, other: Any) -> Any:
        """A number from steps as it meets a value that carries no formula."""
        if isinstance(value, StepInt | StepFloat):
            if isinstance(other, Tensor | Tracked | ArrayProxy):
                return value.book.use(value)
            return value.book.pin(value)
        self.calls.pin_inside(value)
        return value

    def _beside_tracked(self, other: Any) -> Any:
        if isinstance(other, int | float | Tensor | ArrayProxy) and not isinstance(other, np.generic):
            return other
        if isinstance(other, np.generic) and isinstance(other.item(), int | float):
            return other.item()
        if isinstance(other, np.ndarray):
            return ArrayProxy(torch.tensor(other.tolist(), dtype=torch.float64))
        self.calls.escape(f"an operation with a {type(other).__name__}")
        raise AssertionError

    def _as_array(self, value: Tracked, other: Any) -> Any:
        """NumPy's operators would take a tracked number for a plain one."""
        return ArrayProxy(torch.tensor(value, dtype=torch.float64)) if isinstance(other, ArrayProxy) else value

    def first_link(self, site: int, name: str, left: Any, right: Any) -> Any:
        """``left < right`` of ``left < right < ...``; ``right`` is kept for the next link where there is one."""
        result = self.compare(site, name, left, right)
        if result:
            self._middles.append(right)
        return result

    def link(self, site: int, name: str, right: Any) -> Any:
        """A link that is neither the first nor the last."""
        return self.first_link(site, name, self._middles.pop(), right)

    def last_link(self, site: int, name: str, right: Any) -> Any:
        """The last link of a chain."""
        return self.compare(site, name, self._middles.pop(), right)

    def compare(self, site: int, name: str, left: Any, right: Any) -> Any:
        """``left op right``."""
        if self.operands is None:
            return _plain_compare(name, left, right)
        self.calls.check_device(left)
        self.calls.check_device(right)
        if name in {"in", "not_in"}:
            found = self._membership(left, right)
            return found if name == "in" else not found
        if name in {"is_", "is_not"}:
            return self._identity(name, left, right)
        self.note(site, left)
        self.note(site, right)
        return self._combined(name, name, left, right)

    def _membership(self, left: Any, right: Any) -> bool:
        if isinstance(left, Tracked) or self.calls.holds_tracked(right):
            self.calls.escape("a membership test")
        if is_step_number(left) and isinstance(right, list | tuple | set | frozenset | range | dict):
            members = tuple(right)
            if all(type(m) in {int, float, bool, str} for m in members):
                return bool(lift("contains", left, members))
        self.calls.pin_inside(left)
        self.calls.pin_inside(right)
        if isinstance(right, list | tuple | set | frozenset | dict | str):
            self.calls.note_public("the length of what is looked in", float(len(right)))
        if is_shape_number(left) or isinstance(right, range):
            self.calls.lost_shape(left)
        return plain_value(plain_number(left)) in right

    def _identity(self, name: str, left: Any, right: Any) -> bool:
        for one, other in ((left, right), (right, left)):
            odd = isinstance(one, Tracked) or is_step_number(one) or is_shape_number(one)
            # A number of steps or shapes is never a truth value; what ``item()`` gives may be one.
            if odd and other is not None and (isinstance(one, Tracked) or not isinstance(other, bool)):
                _, session = self.watching()
                session.mark_line()
                session.refuse("DPA116", "the identity of numbers is outside the verified subset of Python")
        return bool(getattr(operator, name)(left, right))

    # ---- subscripts -------------------------------------------------------------------------------------------

    def subscript(self, site: int, container: Any, index: Any) -> Any:
        if self.operands is None:
            return container[index]
        listed = isinstance(container, list | tuple) and len(container) <= 100_000
        if is_step_number(index) and listed and all(type(v) in {int, float} for v in container):
            return lift("item", index, tuple(container))
        picked = self.calls.picked(container, index) if is_shape_number(index) else None
        if picked is not None:
            return picked
        index = self._place(container, index)
        if isinstance(container, dict):
            self.calls.note_public("the length of what is looked in", float(len(container)))
        found = container[index]
        if type(found) not in {int, float, bool, str} and not self._is_row_index(container, index):
            self.note(site, index)
        return found

    def _place(self, container: Any, index: Any) -> Any:
        """An index as a plain one: what may change is pinned, and what was read from a shape is noted."""
        self.calls.check_device(index)
        if self.calls.holds_tracked(index):
            self.calls.escape("an index")
        self.calls.pin_inside(index)
        if is_step_number(index):
            index = plain_number(index)
        if isinstance(container, list | tuple | str | range):
            self._check_slice(container, index)
        if not isinstance(container, Tensor | ArrayProxy):
            self.calls.lose_inside(index)
        return size_value(index)

    def _check_slice(self, container: Any, index: Any) -> None:
        """A slice that ends beyond a list may end inside it where there are more rows or longer axes."""
        if not isinstance(index, slice):
            return
        for bound in (index.start, index.stop, index.step):
            if bound is not None and (is_shape_number(bound) or abs(int(bound)) >= max(len(container), 2)):
                self.calls.lost_shape(bound)
                self.calls.note_public("a slice of a list", float(len(container)))
                self.calls.note_public("a slice of a list", float(bound))

    def _is_row_index(self, container: Any, index: Any) -> bool:
        """An index of one row out of all rows: the only number that may differ with the number of rows."""
        assert self.shapes is not None
        rows = self.shapes.shrinking.rows
        first = index[0] if isinstance(index, tuple) and index else index
        if isinstance(container, Tensor):
            shape = plain_shape(container)
            return type(first) is int and bool(shape) and shape[0] == rows
        return isinstance(container, list | tuple) and type(index) is int and len(container) == rows

    # ---- stores -----------------------------------------------------------------------------------------------

    def store(self, site: int, value: Any, container: Any, index: Any) -> None:
        """``container[index] = value``."""
        if self.operands is not None:
            self.note(site, value)
            index = self._place(container, index)
            if not self._is_row_index(container, index):
                self.note(site, index)
            if isinstance(container, np.ndarray):
                if self.calls.holds_tracked(value) or isinstance(value, ArrayProxy | Tensor):
                    self.calls.escape("a NumPy array that is not tracked")
                self.calls.pin_inside(value)
        container[index] = value

    def found(self, site: int, container: Any, index: Any) -> tuple[Any, Any, Any]:
        """The target of ``container[index] op= value`` before the value is computed."""
        return container, index, self.subscript(site, container, index)

    def augment(self, site: int, name: str, found: tuple[Any, Any, Any], value: Any) -> None:
        """``container[index] op= value``."""
        container, index, before = found
        self.store(site, self.binary(site, name, before, value), container, index)

    def found_attribute(self, site: int, owner: Any, attribute: str) -> tuple[Any, str, Any]:
        """The target of ``owner.attribute op= value`` before the value is computed."""
        self.owner(site, owner, attribute)
        return owner, attribute, getattr(owner, attribute)

    def augment_attribute(self, site: int, name: str, found: tuple[Any, str, Any], value: Any) -> None:
        """``owner.attribute op= value``."""
        owner, attribute, before = found
        setattr(owner, attribute, self.binary(site, name, before, value))

    def sliced(self, site: int, start: Any, stop: Any, step: Any) -> slice:
        """``start:stop:step``, whatever the candidate calls ``slice``."""
        return slice(start, stop, step)

    def told(self, site: int, value: Any, attribute: str) -> Any:
        """A value of which an attribute is read that a stand-in has, and what it stands for has not, or has otherwise."""
        if self.operands is not None:
            self.calls.check_attribute(value, attribute)
        return value

    def owner(self, site: int, owner: Any, attribute: str) -> Any:
        """What an attribute is set on: an object of the candidate's own class, or a plain tensor, whose attributes are followed.

        A class, module or function would be changed for the analysis as well.
        """
        own = owner.__module__ == self.filename if isinstance(owner, type) else type(owner).__module__ == self.filename
        on_tensor = type(owner) in {Tensor, torch.nn.Parameter} and (
            attribute == "grad" or not hasattr(Tensor, attribute)
        )
        if not own and not on_tensor:
            message = f"the attribute {attribute} is set on something else than the mechanism's own objects"
            if self.operands is not None:
                _, session = self.watching()
                session.mark_line()
                session.refuse("DPA106", message)
            raise Refusal(Reason(rule="DPA106", line=_line_in(self.filename), message=message))
        return owner

    def target(self, site: int, container: Any) -> Any:
        """The container of a store in another form (several targets, a loop variable)."""
        if self.operands is not None and isinstance(container, np.ndarray):
            _, session = self.watching()
            session.mark_line()
            session.refuse("DPA116", "a NumPy array is written to in a form that is not followed")
        return container

    def place(self, site: int, index: Any) -> Any:
        """The index of a store in another form."""
        return self._place(None, index) if self.operands is not None else index

    # ---- calls ------------------------------------------------------------------------------------------------

    def call(self, site: int, function: Any, *args: Any, **kwargs: Any) -> Any:
        if self.operands is None:
            return function(*args, **kwargs)
        if not self.calls.is_own(function):
            for value in (*args, *kwargs.values()):
                self.note(site, value)
        result = self.calls.observed(function, args, kwargs)
        if function is len:
            self.note(site, result)
        return result

    def drawn(
        self,
        site: int,
        method: str,
        kind: Any,
        given: tuple[Any, ...],
        named: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """``kind(*given, **named).method(*args, **kwargs)``; noise of ``torch.distributions`` is drawn by watched calls."""
        if self.operands is None or kind is not torch.distributions.Normal:
            made = self.call(site, kind, *given, **named)
            return self.call(site, getattr(made, method), *args, **kwargs)
        operands, session = self.watching()
        session.mark_line()
        for value in (*given, *named.values(), *args, *kwargs.values()):
            self.note(site, value)
        try:
            return draw_normal(operands, given, named, *args, **kwargs)
        except TypeError as error:
            raise session.refuse("DPA117", f"torch.distributions.Normal: {error}") from error

    def text(self, site: int, value: Any) -> Any:
        """A value that goes into a text."""
        if self.operands is not None:
            self.note(site, value)
            self.calls.check_text(value)
            self.calls.pin_inside(value)
            if is_shape_number(value):
                self.calls.lost_shape(value)
        return value


def _line_in(filename: str) -> int | None:
    """The candidate's line that is being executed."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != filename:
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else frame.f_lineno


def _plain_compare(name: str, left: Any, right: Any) -> Any:
    if name in {"in", "not_in"}:
        return (left in right) is (name == "in")
    return getattr(operator, name)(left, right)


class SlotBridge:
    """Gives tensors a positive public unknown in place of a number that changes from step to step."""

    def __init__(self, operands: Operands) -> None:
        self.operands = operands

    def public_number(self, formula: tuple[Any, ...], value: float) -> Any:
        atom = self.operands.table.public(("slot", formula), (0.0, float("inf")))
        return wrap(self.operands, atom, value)


__all__ = ["ROW", "Hooks", "SlotBridge", "expression_of"]
