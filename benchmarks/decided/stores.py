"""What a store of a million trials costs: the newest run's table, an arm's history, ingestion. SQLite, because it needs
no server; `benchmarks/store.py` measures PostgreSQL as well.
"""

import tempfile
from pathlib import Path

from stored import made, measured

WHOLE = 1_000_000
SHORT = 720


def figures(trials: int) -> dict[str, object]:
    """Return the figures of a store of so many trials. Those of a million are absent where it has fewer."""
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-store-") as folder:
        url = f"sqlite:///{Path(folder) / 'store.db'}"
        ingested = made.fill(url, trials)
        table, history = (measured.in_a_process(url, what) for what in ("table", "history"))
        size_mb = round(made.size_mb(url))
    found = {
        "table_s": table["seconds"],
        "history_s": history["seconds"],
        "mb": max(table["peak_mb"], history["peak_mb"]),
    }
    name = "store_1m" if trials == WHOLE else "store"
    return {"store_trials": trials, "store_size_mb": size_mb, **ingested} | {
        f"{name}_{key}": value for key, value in found.items()
    }
