"""Finds the engine's own last error in the log files of Ray.

With vLLM's V1 engine, Serve's message only points to another process ("See root cause above"); the cause is in the
output of the worker process (`worker-*.out`, `worker-*.err`; vLLM v1/engine/core.py).
"""

from typing import Final

from airflow_llm_provisioning.core.blockers.sentences import root_error_of

# In the order in which they are believed: a worker's own output, then Serve's file of the replica.
_FILES: Final = ("worker-", "serve/replica_")


class EngineLogs:
    """The last error by log file: the names of two nodes may be the same."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], str] = {}

    def feed(self, node_ip: str, filename: str, content: str) -> None:
        """Process one log file."""
        if not filename.startswith(_FILES):
            return
        error = root_error_of(content)
        if error:
            self._errors[filename, node_ip] = error
        else:
            self._errors.pop((filename, node_ip), None)

    def last_error(self) -> tuple[str, str] | None:
        """Return the file and the error that tell most, or None."""
        found = sorted(self._errors.items(), key=lambda item: (_rank(item[0][0]), item[0]))
        return (found[0][0][0], found[0][1]) if found else None


def _rank(filename: str) -> int:
    return next((rank for rank, start in enumerate(_FILES) if filename.startswith(start)), len(_FILES))
