"""Follow what steps leave behind: couple a step, and see whether later steps release the same on both sides."""

from dpaudit.contract import NoiseClass

from .coupling import Coupled, Reader, StepState
from .diagnosis import Diagnosis
from .hidden_state import Shadow, differing, differs, examine, follow

_EVERY = 16
"""A world that looks the same is followed at times too: state may hide where no snapshot looks."""
_DEPTH = 2
_FOLLOW_EVERY = 4
_DIAGNOSED = 3


class ShadowWatch:
    """The worlds of D' after coupled steps, each examined at the steps after it."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._shadows: list[Shadow] = []
        self._found: dict[NoiseClass, int] = {}

    def cast(self, state: StepState, coupled: Coupled, *, settled: bool) -> None:
        """Remember the world after the coupled run if it differs from D's, or at times to be sure."""
        if coupled.after is None:
            return
        attributes = differing(state.after, coupled.after, 4 * coupled.tolerance)
        if attributes or state.step % _EVERY == 0:
            self._shadows.append(Shadow(state, coupled.after, attributes, settled))

    def examine(self, state: StepState) -> Diagnosis | None:
        """What an earlier step left behind that reaches this one."""
        found: Diagnosis | None = None
        kept: list[Shadow] = []
        waiting, self._shadows = self._shadows, []  # none is left over if one of them raises
        for shadow in waiting:
            diagnosis = self._examine(state, shadow)
            if diagnosis is not None:
                found = diagnosis
            elif len(shadow.between) + 1 < _DEPTH and shadow.origin.step % _FOLLOW_EVERY == 0:
                kept.append(follow(self.reader, state, shadow))
        self._shadows = kept
        return found

    def _examine(self, state: StepState, shadow: Shadow) -> Diagnosis | None:
        for noise_class, times in self._found.items():
            if times >= _DIAGNOSED:
                return Diagnosis(noise_class, None) if differs(self.reader, state, shadow) else None
        diagnosis = examine(self.reader, state, shadow)
        if diagnosis is not None and diagnosis.noise_class is NoiseClass.UNRESOLVED and NoiseClass.LEAK in self._found:
            return Diagnosis(NoiseClass.LEAK, None)  # shown before; post-processing may hide it at one step
        if diagnosis is not None:
            self._found[diagnosis.noise_class] = self._found.get(diagnosis.noise_class, 0) + 1
        return diagnosis
