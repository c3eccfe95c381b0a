"""The report's part about factorial plans: what each treatment does, and what two do together."""

from collections.abc import Iterator, Sequence

from airflow_llm_provisioning.core.factorial_effects import effects_of
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.report.markup import Markup, element, table
from airflow_llm_provisioning.report.tables import EFFECTS_SHOWN, READ_EFFECTS_SO, effect_text


def effects_sections(trials: Sequence[Measured]) -> Iterator[Markup]:
    """Yield one section with a table for every stratum whose arms combine treatments; nothing where none does."""
    found = effects_of(trials)
    if not found:
        return
    parts: list[Markup] = []
    for effects in found:
        stratum = effects.baseline.arm.stratum
        rows = [row | {"change": effect_text(row)} for row in effects.rows()]
        caption = f"{stratum.cloud.upper()} {stratum.setup}, workload {stratum.workload}: {stratum.origin}"
        parts.append(table(EFFECTS_SHOWN, rows, f"{caption}; baseline {effects.baseline_s:.1f} s"))
        if effects.sentences:
            parts.append(element("ul", [element("li", sentence) for sentence in effects.sentences]))
    reading = element("ul", [element("li", sentence) for sentence in READ_EFFECTS_SO], class_="quiet")
    yield element("section", [element("h2", "Effect of each treatment"), *parts, reading], id="effects")
