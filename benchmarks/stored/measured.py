"""How long a question takes, and how much memory, in a process of its own."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands import history
from airflow_llm_provisioning.core.nights import NEWEST_NIGHTS
from airflow_llm_provisioning.decisions.changes import histories
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.report.tables import results_rows, written

SCRIPT = Path(__file__).resolve().parents[1] / "store.py"


def in_a_process(url: str, what: str) -> dict[str, Any]:
    """Measure in a new process; the second of two runs counts, with the database's pages in memory."""
    command = [sys.executable, str(SCRIPT), "--measure", url, what]
    for _ in range(2):
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def measure(url: str, what: str) -> dict[str, float]:
    """Ask once: open the store, read, compute, and write the text that the command prints."""
    started, cpu = time.monotonic(), time.process_time()
    store = ResultsStore.open_for_reading(url)
    try:
        text = {"table": _table, "history": _history}[what](store)
    finally:
        store.close()
    if len(text) < 200:
        raise SystemExit(f"There is no {what}: {text!r}")
    seconds, cpu_s = time.monotonic() - started, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": round(seconds, 3), "cpu_s": round(cpu_s, 3), "peak_mb": round(peak_mb)}


def _table(store: ResultsStore) -> str:
    """The newest run's table, as `results --newest` prints it."""
    newest = store.queries.newest_run()
    if newest is None:
        return ""
    return written(results_rows(store, "comparison", Selection(run_id=newest.run_id, dag_id=newest.dag_id)), "table")


def _history(store: ResultsStore) -> str:
    """An arm's history, as `history --where arm=KEY` prints it."""
    arm = store.queries.trials_page(limit=1).rows[0]["arm"]
    nights = store.queries.history(Selection(arm=arm))
    found = histories(nights, store.level_notes())
    return "\n".join(line for one in found for line in history._lines(one, NEWEST_NIGHTS))  # noqa: SLF001
