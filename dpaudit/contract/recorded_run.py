"""What a run recorded of itself beside the noise multipliers that its accountant was told.

Everything here is the recorder's word. It can convict the run (a record that contradicts its own claim) and never acquits it.
"""

from dataclasses import dataclass

from .words import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class RankNoise:
    """Noise that one process of a distributed step added.

    Attributes:
        rank: of the process, from 0.
        noise_std: standard deviation on the sum of contributions, in their units.
        noise_id: equal for equal noise vectors, e.g. a hash of the vector or the generator's state; ``None``: not recorded.
    """

    rank: int
    noise_std: float
    noise_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """One step of a recorded run.

    Attributes:
        told: noise multiplier that the accountant was told; ``None`` where it was told nothing.
        ran: noise multiplier that the optimiser ran with (noise std over the clipping bound); ``None``: not recorded.
        rows: number of examples drawn.
        examples: identifiers of the examples drawn.
        noise_id: equal for equal noise vectors.
        ranks: noise by process, where there were several.
        released: whether the update left the step; ``False`` for one that was thrown away after a look at private data.
    """

    told: float | None
    ran: float | None = None
    rows: int | None = None
    examples: tuple[int, ...] | None = None
    noise_id: str | None = None
    ranks: tuple[RankNoise, ...] = ()
    released: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRelease:
    """Something that left the run beside the updates of its steps.

    Attributes:
        what: in words.
        noise_multiplier: noise std over what one example contributes; 0 for an exact value.
        steps: how often; each time on a batch drawn as the run's own, or once on the whole data set where ``None``.
        charged: whether the accountant was told.
    """

    what: str
    noise_multiplier: float
    steps: int | None = None
    charged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A choice among several trained candidates by a look at private data.

    Attributes:
        candidates: how many were trained, each as this run was.
        all_released: whether results of all of them left (models, metrics), or only the chosen one.
        charged: whether the accountant was told.
    """

    candidates: int
    all_released: bool
    charged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """The facts of a recorded run that its claim rests on.

    Attributes:
        steps: in order from 0.
        claimed_epsilon: what the run's own accountant stated; ``None``: nothing beside the target.
        accountant: its name.
        accounted_sampler, accounted_steps, accounted_probability: what the accountant was told of sampler, number of steps and q;
            ``None``: not recorded.
        other_releases, selection: what else left the run.
        releases_per_rank: whether the update of each process is seen alone (federated training), not only their sum.
    """

    steps: tuple[RecordedStep, ...]
    claimed_epsilon: float | None = None
    accountant: str = ""
    accounted_sampler: Sampler | None = None
    accounted_steps: int | None = None
    accounted_probability: float | None = None
    other_releases: tuple[OtherRelease, ...] = ()
    selection: Selection | None = None
    releases_per_rank: bool = False
