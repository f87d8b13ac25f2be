"""Session: the state of one symbolic execution, with what has been released so far."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from .expressions import Table
from .intervals import EVERYTHING
from .refusal import Reason, Refusal

MAXIMAL_NODES = 3_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One scalar that leaves the mechanism: ``sum of private terms + sum of noise terms``, up to a public shift and scale.

    Attributes:
        private: ``((expression, coefficient), ...)``, every expression depends on gradients and on no noise.
        noise: ``((expression, coefficient), ...)``, every expression one Gaussian draw times public factors.
        line: where noise and private data met.
    """

    private: tuple[tuple[int, float], ...]
    noise: tuple[tuple[int, float], ...]
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A condition on an unknown that the candidate's control flow was asked to decide."""

    condition: int
    line: int | None
    outcome: bool


@dataclass(slots=True, kw_only=True)
class Session:
    """What one symbolic run knows. Not shared between runs, except the table of expressions.

    Attributes:
        filename: compiled name of the candidate's source; frames with it are the candidate's own.
        sampled: the number of rows is private.
        real_rows: rows at the real shape, where their number is public.
        tiny_rows: rows of the tensors that are really run.
    """

    table: Table
    filename: str
    sampled: bool
    real_rows: int
    tiny_rows: int
    planned: tuple[bool, ...] = ()
    reasons: list[Reason] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    public_values: dict[tuple[int | None, str], list[object]] = field(default_factory=dict)
    notes: dict[str, int | None] = field(default_factory=dict)
    declassified: dict[int, int | None] = field(default_factory=dict)
    """Expressions that were declared public for a conditional bound, with the line of the escape."""
    conditional: bool = False
    empty: bool = False
    """There are no rows: noise alone is what a step then releases."""
    inside: bool = False
    watching: bool = True
    handled: frozenset[str] = frozenset()
    """Names of the exceptions that the candidate catches."""
    in_chunks: bool = False
    """Rows are cut into chunks of a fixed size."""
    sizes: frozenset[tuple[int, int]] = frozenset()
    """What may be used as a size: ``(at the small shape, at the real one)``."""
    draws: int = 0
    coins: int = 0
    _frozen: dict[tuple[object, ...], int] = field(default_factory=dict)

    def mark_line(self) -> int | None:
        """Stamp the nearest line of the candidate on the expressions that are built next."""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self.filename:
                self.table.line = frame.f_lineno
                break
            frame = frame.f_back  # type: ignore[assignment]
        if len(self.table.nodes) > MAXIMAL_NODES:
            self.refuse("DPA114", f"more than {MAXIMAL_NODES} expressions; the analysis was stopped")
        return self.table.line

    def refuse(self, rule: str, message: str, line: int | None = None) -> "Refusal":
        """Record the refusal, then raise it. The return type only serves ``raise session.refuse(...)``."""
        reason = Reason(rule=rule, line=self.table.line if line is None else line, message=message)
        self.reasons.append(reason)
        raise Refusal(reason, self)

    def note_public(self, what: str, value: float) -> None:
        """Note a value that must not depend on the small shape that runs."""
        self.mark_line()
        self.public_values.setdefault((self.table.line, what), []).append(value)

    # ---- atoms ------------------------------------------------------------------------------------------------

    def fresh_noise(self) -> int:
        self.draws += 1
        return self.table.noise(self.draws)

    def fresh_coin(self, low: float = -math.inf, high: float = math.inf) -> int:
        self.coins += 1
        return self.table.public(("coin", self.coins), (low, high))

    def opaque(self, name: str, touch: int, flags: int) -> int:
        """A value that nothing is known about except which samples it depends on."""
        self.coins += 1
        if not touch and not flags & 1:
            return self.table.public(("derived", name, self.coins), EVERYTHING)
        return self.table._intern(("opaque", name, self.coins), touch, flags)

    # ---- releases ---------------------------------------------------------------------------------------------

    def settle(self, x: int) -> int:
        """Replace a noisy private value by a public one, and charge it as a release."""
        table = self.table
        if table.touch[x] and table.flags[x] & 1:
            return self.freeze(x)
        return x

    def settle_all(self, ids: Sequence[int]) -> list[int]:
        table = self.table
        touch, flags = table.touch, table.flags
        return [self.freeze(x) if touch[x] and flags[x] & 1 else x for x in ids]

    def freeze(self, x: int) -> int:
        """Charge ``x = public + scale * (private + Gaussian)`` as a release and return ``public + scale * p``."""
        table = self.table
        inside = self._noisy_sum_in(x)
        if inside is not None:
            coefficient, factors = table.factors(x)
            settled = self.freeze(inside)
            parts = [table.power(settled if f == inside else f, e) for f, e in factors]
            return table.scale(table.multiply(parts), coefficient)
        constant, terms = table.linear(x)
        private = {t: k for t, k in terms if table.touch[t] and not table.has_noise(t)}
        noise = {t: k for t, k in terms if table.has_noise(t) and not table.touch[t]}
        public = {t: k for t, k in terms if not table.has_noise(t) and not table.touch[t]}
        for term, k in terms:
            if table.touch[term] and table.has_noise(term):
                scaled = self._declared_scale(term) if self.conditional else None
                if scaled is None:
                    self._absorb_mixed(term, k, public)
                else:
                    noise[scaled] = noise.get(scaled, 0.0) + k
        if not private:
            if noise and self.empty:
                for term in noise:
                    self._check_gaussian(term)
                return self._register(x, constant, public, {}, noise)
            if noise:
                self.refuse("DPA105", "noise that was already spent is released again", table.lines[x])
            return table.combine(constant, public)
        if not noise and self.conditional:
            return self.declared(x)
        if not noise:
            self.refuse("DPA101", "a private value is released without noise", table.lines[x])
        for term in noise:
            self._check_gaussian(term)
        if self.table.floats.active:
            self.table.floats.released(constant, public, noise)
            self.table.floats.shown(private)
        return self._register(x, constant, public, private, noise)

    def declared(self, x: int) -> int:
        """``x`` taken for a public number, for the conditional bound only."""
        assert self.conditional
        self.declassified[x] = self.table.lines[x]
        return self.table.public(("declared", x), self.table.range(x))

    def _declared_scale(self, term: int) -> int | None:
        """A draw times private factors, with those taken for public; ``None`` where noise and data are not apart."""
        table = self.table
        coefficient, factors = table.factors(term)
        if any(table.touch[f] and table.has_noise(f) for f, _ in factors):
            return None
        parts = [table.power(self.declared(f) if table.touch[f] else f, e) for f, e in factors]
        return table.scale(table.multiply(parts), coefficient)

    def _noisy_sum_in(self, x: int) -> int | None:
        """The one factor of a product that is a noisy sum, if all else in it is public."""
        table = self.table
        _, factors = table.factors(x)
        open_factors = [f for f, _ in factors if table.touch[f] or table.has_noise(f)]
        if len(open_factors) == 1 and open_factors[0] != x and table.kind(open_factors[0]) == "lin":
            return open_factors[0] if table.touch[open_factors[0]] else None
        return None

    def _absorb_mixed(self, term: int, coefficient: float, public: dict[int, float]) -> None:
        table = self.table
        settled = self.freeze(term) if self._noisy_sum_in(term) is not None else term
        if settled == term or table.touch[settled] or table.has_noise(settled):
            self.refuse(
                "DPA104",
                "the scale of the noise depends on private data" + self.mixing_note(term),
                table.lines[term],
            )
        public[settled] = public.get(settled, 0.0) + coefficient

    def _check_gaussian(self, term: int) -> None:
        table = self.table
        draws = [(f, e) for f, e in table.factors(term)[1] if table.has_noise(f)]
        if len(draws) != 1 or draws[0][1] != 1 or table.kind(draws[0][0]) != "z":
            self.refuse("DPA112", "the noise is not a Gaussian draw times a public number", table.lines[term])

    def _register(
        self, x: int, constant: float, public: dict[int, float], private: dict[int, float], noise: dict[int, float]
    ) -> int:
        table = self.table
        scale = noise[min(noise)]
        key = tuple((t, float(f"{k / scale:.14e}")) for t, k in sorted([*private.items(), *noise.items()]))
        atom = self._frozen.get(key)
        if atom is None:
            release = Release(
                private=tuple((t, k / scale) for t, k in sorted(private.items())),
                noise=tuple((t, k / scale) for t, k in sorted(noise.items())),
                line=table.lines[x],
            )
            self.releases.append(release)
            atom = self._frozen[key] = table.public(("released", len(self.releases)), EVERYTHING)
        public = dict(public)
        public[atom] = public.get(atom, 0.0) + scale
        return table.combine(constant, public)

    def mixing_line(self, x: int) -> int | None:
        """Line at which values of several samples first came together under ``x``, not counting plain sums at the top."""
        table = self.table
        best, seen, stack = x, set(), [x]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if table.touch[node] & (table.touch[node] - 1):
                best = min(best, node)
                stack.extend(table.children(node))
        return table.lines[best]

    def mixing_note(self, x: int) -> str:
        touch = self.table.touch[x]
        if touch & (touch - 1):
            return f"; samples come together at line {self.mixing_line(x)}"
        return ""

    # ---- control flow -----------------------------------------------------------------------------------------

    def decide(self, condition: int) -> bool:
        """Outcome of ``bool(condition)``: known, or planned by the caller, who explores both."""
        table = self.table
        condition = self.settle(condition)
        value = table.value(condition)
        if value is not None:
            return bool(value)
        if self.conditional and table.touch[condition] & (table.touch[condition] - 1):
            condition = self.declared(condition)
        if table.has_noise(condition):
            self.refuse("DPA112", "control flow depends on noise that is not yet released")
        for earlier in self.branches:
            if earlier.condition == condition:
                return earlier.outcome
            if table.negate(earlier.condition) == condition:
                return not earlier.outcome
        index = len(self.branches)
        outcome = self.planned[index] if index < len(self.planned) else True
        self.branches.append(Branch(condition=condition, line=self.mark_line(), outcome=outcome))
        return outcome
