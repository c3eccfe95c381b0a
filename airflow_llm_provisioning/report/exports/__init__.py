"""The formats in which results leave the store, one file each. `llm-provisioning results --format` lists them.

A format of rows writes any table of `--what`. A format of trials is another project's: it writes the trials themselves,
as that project's reader expects them. Everything that leaves is without secrets. A format is imported when it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from airflow_llm_provisioning.core.measured import Measured

Row = Mapping[str, Any]

ROWS: Final = "rows"
TRIALS: Final = "trials"


@dataclass(frozen=True, slots=True)
class Format:
    """`kind`: what it writes, rows or trials. `module`: of this package; its `write` takes a sequence of them and
    returns the file's bytes. `binary`: whether it is no text.
    """

    kind: str
    module: str
    binary: bool = False

    def write(self, what: Sequence[Any]) -> bytes:
        """Return the file. Raises MissingExtraError where the format needs a library that is not installed."""
        function: Callable[[Sequence[Any]], bytes] = import_module(f"{__name__}.{self.module}").write
        return function(what)


FORMATS: Final[Mapping[str, Format]] = {
    "csv": Format(ROWS, "csv_rows"),
    "json": Format(ROWS, "json_rows"),
    "markdown": Format(ROWS, "markdown"),
    "parquet": Format(ROWS, "parquet", binary=True),
    "openmetrics": Format(TRIALS, "openmetrics"),
    "otava-csv": Format(TRIALS, "otava_csv"),
    "perfkit-ndjson": Format(TRIALS, "perfkit"),
    "llm-d": Format(TRIALS, "llm_d"),
}


def comparable(trials: Sequence[Measured]) -> list[Measured]:
    """Return the trials whose times may be held against others'."""
    return [trial for trial in trials if trial.exclusion is None and trial.total_s is not None]
