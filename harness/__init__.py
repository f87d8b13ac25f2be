"""The training harness: runs any mechanism at fixed settings and records what happened.

Public names: :func:`train`, :func:`train_in_subprocess`, :func:`read_run`,
:func:`read_epochs`; :data:`PRESETS`, :func:`preset`,
:func:`run_config`, :data:`DATASET_PRESETS`, :func:`seeds`.
"""

from .candidate import MechanismError
from .confined import TrainingFailure
from .preset import Preset
from .presets import DATASET_PRESETS, PRESETS, preset, seeds
from .run_directory import read_epochs, read_run
from .run_settings import run_config
from .subprocess_training import train_in_subprocess
from .training import train

__all__ = [
    "DATASET_PRESETS",
    "PRESETS",
    "MechanismError",
    "Preset",
    "TrainingFailure",
    "preset",
    "read_epochs",
    "read_run",
    "run_config",
    "seeds",
    "train",
    "train_in_subprocess",
]
