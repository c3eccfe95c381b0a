"""The order in which rows of arms are shown: by cloud, by family under a heading, and what is said below them.

Nothing is pooled here: the rows are finished, and one row is one arm.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from airflow_llm_provisioning.core.arm import Stratum, told_apart

Row = dict[str, Any]

OLD_ROWS: Final = (
    "Rows of version 0.1 recorded no region, node autoscaler or nodes: they are pooled inside their experiment only."
)


def by_family(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of arms by family, with what tells the family from the others of its cloud ("" if it is the only
    one). The rows are in the order of `compare`.
    """
    for _, of_cloud in groupby(rows, key=lambda row: str(row["cloud"])):
        listed = list(of_cloud)
        headings = told_apart([Stratum.from_dict(row) for row in listed])
        for family, group in groupby(listed, key=lambda row: Stratum.from_dict(row).family):
            yield headings[family], named_variants(list(group))


def named_variants(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of arms with the treatments behind the variant's name, where two arms of one stratum have the
    same name.
    """
    arms = {row["arm"]: (row["stratum"], row["variant"]) for row in rows}
    times = Counter(arms.values())
    return [
        row | {"variant": f"{row['variant']} ({row['treatments'] or 'no treatment'})"}
        if times[arms[row["arm"]]] > 1
        else row
        for row in rows
    ]


def differing_facts(row: Row) -> list[str]:
    """Return a sentence for the facts that differ between an arm and its baseline, and one for those inside it."""
    arm = f"{row['setup']} {row['variant']}"
    told = [f"{arm} differs from its baseline in {row['confounders']}."] if row["confounders"] else []
    told += [f"{arm} is mixed in {row['mixed']}."] if row["mixed"] else []
    # Rows of an older store have no such column.
    kept = row.get("kept_warm")
    return told + ([f"{arm} keeps {kept} warm on purpose: its starts are cold except for that."] if kept else [])


def is_old(row: Mapping[str, Any]) -> bool:
    """Return whether the trials of a row were recorded by version 0.1."""
    return Stratum.from_dict(row).old_experiment is not None
