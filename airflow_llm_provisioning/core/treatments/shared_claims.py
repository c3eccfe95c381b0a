"""What a target must say of a claim that many nodes mount, for every treatment that keeps something on one."""

import re
from collections.abc import Iterator
from typing import Final

from airflow_llm_provisioning.core.fields import text
from airflow_llm_provisioning.core.target import Target

MODES: Final = ("ReadWriteMany", "ReadOnlyMany")
QUANTITY: Final = re.compile(r"[1-9][0-9]{0,5}(Gi|Ti)")


def claim_problems(name: str, target: Target, size: str) -> Iterator[str]:
    """Yield what `options.treatments.<name>` lacks or says wrongly. `size`: where the target tells none."""
    told, where = target.told_of(name), f"options.treatments.{name}"
    if not told.get("storage_class") and not told.get("claim"):
        yield (
            f"{name} needs {where}.storage_class on target {target.name!r}: a class of a shared file system; or "
            f"{where}.claim, a claim that exists."
        )
    if (mode := text(told.get("access_mode")) or MODES[0]) not in MODES:
        yield f"{name}: {where}.access_mode is {mode}, and one node cannot share it: use {' or '.join(MODES)}."
    if not QUANTITY.fullmatch(text(told.get("size")) or size):
        yield f"{name}: {where}.size is no size like {size} or 1Ti on target {target.name!r}."
