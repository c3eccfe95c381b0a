"""Arms as an OpenMetrics text file (OpenMetrics 1.0, prometheus.io/docs/specs/om/open_metrics_spec), for the textfile
collector of a node exporter or a push gateway. Samples have no time stamps: they are as old as the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import ComparisonRow, compare
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.secrets import redacted_text

_FAMILIES: Final = (
    ("llm_provisioning_start_seconds", "seconds", "Submission to the ready endpoint over an arm's comparable trials."),
    ("llm_provisioning_reduction_ratio", "ratio", "Share of the baseline's time that an arm saves."),
    ("llm_provisioning_trials", "", "Trials of an arm, by whether they enter its figures."),
)


def write(trials: Sequence[Measured]) -> bytes:
    """Return one gauge family each for the times, the reductions and the numbers of trials; the labels name the arm."""
    rows = compare(trials)
    lines: list[str] = []
    for name, unit, told in _FAMILIES:
        lines += [f"# TYPE {name} gauge", *([f"# UNIT {name} {unit}"] if unit else []), f"# HELP {name} {told}"]
        lines += [f"{name}{{{_labels(labels)}}} {value}" for row in rows for labels, value in _samples(name, row)]
    return "\n".join([*lines, "# EOF", ""]).encode("utf-8", "backslashreplace")


def _samples(name: str, row: ComparisonRow) -> Iterator[tuple[Mapping[str, Any], float]]:
    stratum = row.arm.stratum
    arm = {
        "cloud": stratum.cloud, "setup": stratum.setup, "workload": stratum.workload, "variant": row.arm.variant,
        "origin": stratum.origin, "arm": row.arm.key,
    }  # fmt: skip
    if name.endswith("_trials"):
        values: dict[str, float | None] = {"comparable": row.n, "not_counted": row.trials - row.n}
    elif name.endswith("_seconds"):
        values = {"median": row.median_s, "min": row.min_s, "max": row.max_s}
    else:
        known = {
            "estimate": row.reduction_pct, "low": row.reduction_low_pct, "high": row.reduction_high_pct,
        }  # fmt: skip
        values = {key: None if value is None else value / 100 for key, value in known.items()}
    for key, value in values.items():
        if value is not None:
            yield {**arm, "value": key}, value


def _labels(labels: Mapping[str, Any]) -> str:
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return redacted_text(text).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
