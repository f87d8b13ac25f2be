"""The run configuration that a command's options describe."""

import argparse

from dpaudit.contract import RunConfig


def configured(arguments: argparse.Namespace) -> RunConfig:
    """The preset, with the noise and the cell that were asked for; bound and length too, where a command has those options.

    Raises:
        UsageError: unknown preset, or options that do not go together.
    """
    import harness

    return harness.run_config(
        arguments.preset,
        noise_multiplier=arguments.noise_multiplier,
        calibration=arguments.calibration,
        relation=arguments.relation,
        rows=arguments.rows,
        sampler=arguments.sampler,
        nonfinite=arguments.nonfinite,
        epochs=getattr(arguments, "epochs", None),
        max_grad_norm=getattr(arguments, "max_grad_norm", None),
    )
