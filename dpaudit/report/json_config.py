"""The run configuration as JSON, both ways; its cell stands apart."""

from dpaudit.contract import Calibration, Cell, DataError, NonFinite, Relation, Rows, RunConfig, Sampler, UsageError

from .json_node import Node
from .stable_json import JsonData


def config_data(config: RunConfig) -> JsonData:
    """The run configuration without its cell, which stands beside it."""
    preparation: dict[str, JsonData] = (
        {"preparation": [float(multiplier) for multiplier in config.preparation]} if config.preparation else {}
    )
    return {
        "name": config.name,
        "dataset_size": config.dataset_size,
        "batch_size": config.batch_size,
        "expected_batch": float(config.expected_batch),
        "epochs": config.epochs,
        "steps_per_epoch": config.steps_per_epoch,
        "max_grad_norm": float(config.max_grad_norm),
        "target_epsilon": float(config.target_epsilon),
        "target_delta": float(config.target_delta),
        "noise_multiplier": float(config.noise_multiplier),
        "calibration": config.calibration.value,
        "parameter_shapes": [list(shape) for shape in config.parameter_shapes],
        **preparation,
    }


def read_cell(node: Node) -> Cell:
    """Sampler, relation, rows and who handles non-finite rows."""
    part = node.fields("sampler", "relation", "rows", "nonfinite")
    return Cell(
        sampler=part["sampler"].word(Sampler),
        relation=part["relation"].word(Relation),
        rows=part["rows"].word(Rows),
        nonfinite=part["nonfinite"].word(NonFinite),
    )


def read_config(node: Node, cell: Cell) -> RunConfig:
    """The inverse of :func:`config_data`.

    Raises:
        DataError: the values are no run configuration.
    """
    # Written only where there is one; a report without it tells of a run without it.
    prepared = ("preparation",) if isinstance(node.value, dict) and "preparation" in node.value else ()
    part = node.fields(
        *("name", "dataset_size", "batch_size", "expected_batch", "epochs", "steps_per_epoch", "max_grad_norm"),
        *("target_epsilon", "target_delta", "noise_multiplier", "calibration", "parameter_shapes"),
        *prepared,
    )
    values = {
        "dataset_size": part["dataset_size"].integer(),
        "batch_size": part["batch_size"].integer(),
        "epochs": part["epochs"].integer(),
        "steps_per_epoch": part["steps_per_epoch"].integer(),
    }
    shapes = tuple(tuple(size.integer() for size in shape.items()) for shape in part["parameter_shapes"].items())
    try:
        return RunConfig(
            **values,
            name=part["name"].text(),
            expected_batch=part["expected_batch"].number(),
            max_grad_norm=part["max_grad_norm"].number(),
            target_epsilon=part["target_epsilon"].number(),
            target_delta=part["target_delta"].number(),
            noise_multiplier=part["noise_multiplier"].number(),
            cell=cell,
            calibration=part["calibration"].word(Calibration),
            parameter_shapes=shapes,
            preparation=tuple(value.number() for value in part["preparation"].items()) if prepared else (),
        )
    except DataError:
        raise
    except UsageError as error:
        raise DataError(f"{node.where}: {error}; the report was altered or is of another version") from error
