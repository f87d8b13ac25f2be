"""The reports as web pages: each one a single file without scripts or network, readable with styles off.

Everything from the candidate is text: jinja2 escapes it, and control characters are shown as escapes.
"""

import json
from collections.abc import Sequence
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dpaudit.contract import RULES, AuditReport, Layer, LayerRecord, RunConfig, Verdict

from . import figures, wording
from .accuracy_plot import accuracy_plot
from .attack_plots import attack_plots
from .catch_matrix import CatchMatrix
from .json_record import to_json
from .numbers_table import number_rows
from .ranking import compare
from .report_plots import plots_of
from .untrusted import one_line, shortened, visible


def to_html(report: AuditReport) -> str:
    """One audit as one page: verdict first, then what could not have been detected, layers, findings, plots, numbers.

    Raises:
        AuditBrokenError: the report holds a NaN.
    """
    # What cannot be written as report.json (a NaN above all) must not become a page either.
    to_json([report])
    return TEMPLATES.get_template("report.html.j2").render(
        report=report,
        rules=RULES,
        layers=[_layer(report, layer) for layer in Layer],
        plots=plots_of(report),
        numbers=number_rows(report),
        class_runs=_class_runs(report),
        config=config_rows(report.config),
        attack_plots=[attack_plots(attack, f"plot-roc-{n}") for n, attack in enumerate(report.attacks, 1)],
    )


def to_index_html(reports: Sequence[AuditReport], links: Sequence[str], *, matrix: CatchMatrix | None = None) -> str:
    """The page over all audits: ACCEPTED ranked by accuracy, then INCONCLUSIVE and REJECTED, for every data set.

    ``links[i]`` is the file name of the page of ``reports[i]``, relative to the index. ``matrix`` stands at the end.

    Raises:
        ValueError: not one link for every report.
        AuditBrokenError: a report holds a NaN.
    """
    if len(links) != len(reports):
        raise ValueError(f"index: expected one link for each of {len(reports)} reports, got {len(links)}")
    to_json(reports)
    comparisons = compare(reports)
    parts = [part for _, questions in comparisons for part in questions]
    return TEMPLATES.get_template("index.html.j2").render(
        reports=reports,
        links=[quote(link) for link in links],
        comparisons=comparisons,
        plots={id(part): accuracy_plot(part, f"plot-front-{n}") for n, part in enumerate(parts)},
        identity=id,
        counts=[(verdict, sum(report.verdict is verdict for report in reports)) for verdict in Verdict],
        broken=sum(report.broken for report in reports),
        matrix=matrix,
        layers=list(Layer),
    )


def _layer(report: AuditReport, layer: Layer) -> tuple[Layer, LayerRecord | None]:
    """A layer without a record is shown as such, never left out."""
    return layer, next((record for record in report.layers if record.layer is layer), None)


def _class_runs(report: AuditReport) -> list[tuple[str, str]]:
    """Noise class of the steps as ``(steps, class)``, at most 20 runs and a line about the rest."""
    runs: list[tuple[int, int, str]] = []
    for step, word in enumerate(report.sigma.classes):
        if runs and runs[-1][2] == word.value:
            runs[-1] = (runs[-1][0], step, word.value)
        else:
            runs.append((step, step, word.value))
    shown = [(f"{first}" if first == last else f"{first} to {last}", word) for first, last, word in runs[:20]]
    if len(runs) > 20:
        shown.append((f"{runs[20][0]} to {runs[-1][1]}", f"{len(runs) - 20} more runs in report.json"))
    return shown


def config_rows(config: RunConfig) -> list[tuple[str, str]]:
    """The run configuration as names and values."""
    number = figures.nearest
    return [
        ("name", config.name),
        ("question", wording.cell_sentence(config.cell)),
        ("target", f"epsilon {number(config.target_epsilon)}, delta {number(config.target_delta)}"),
        ("dataset size N", str(config.dataset_size)),
        ("batch size B", str(config.batch_size)),
        ("expected batch", number(config.expected_batch)),
        ("sampling probability", number(config.sampling_probability)),
        ("epochs", str(config.epochs)),
        ("steps", f"{config.total_steps} ({config.steps_per_epoch} an epoch)"),
        ("clipping bound C", number(config.max_grad_norm)),
        ("noise multiplier given", number(config.noise_multiplier)),
        *(
            [("releases before training", ", ".join(f"Gaussian, multiplier {number(m)}" for m in config.preparation))]
            if config.preparation
            else []
        ),
        ("claim's accountant", config.calibration.value),
        ("trained parameters", str(config.n_params) if config.parameter_shapes else "not stated"),
    ]


def _shown(value: object) -> object:
    """Last stop of every expression in a template: raw text becomes visible, and long text short."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(shortened(str(value)))
    return value


def _plain_data(value: object) -> str:
    """A piece of evidence as text: a string as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dpaudit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(one_line=one_line, evidence=_plain_data, svg=Markup)
    environment.globals.update(figures=figures, wording=wording)
    return environment


TEMPLATES = _environment()
