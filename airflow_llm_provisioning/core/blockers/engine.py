"""Finds the engine's own last error in the logs.

With vLLM's V1 engine, Serve's message only points to another process ("See root cause above"); the cause is in the
output of the worker process (`worker-*.out`, `worker-*.err`; vLLM v1/engine/core.py). Of a container that ends again
and again, the kubelet tells the exit code; the cause is at the end of the log of the container before it.
"""

import re
from typing import Final

from airflow_llm_provisioning.core.blockers.sentences import follows, last_line
from airflow_llm_provisioning.core.blockers.tracebacks import root_error_of

# In the order in which they are believed: a worker's own output, then Serve's file of the replica, then containers.
_FILES: Final = ("worker-", "serve/replica_")
# The kubelet's time before each line of a container's log.
_STAMP: Final = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) ?", re.MULTILINE)


class EngineLogs:
    """The last error by log (the names of two nodes may be the same), and the last words of containers."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], str] = {}
        self._last_words: dict[str, str] = {}

    def feed(self, node_ip: str, filename: str, content: str) -> None:
        """Process one log file of Ray."""
        if not filename.startswith(_FILES):
            return
        error = root_error_of(content)
        if error:
            self._errors[filename, node_ip] = error
        else:
            self._errors.pop((filename, node_ip), None)

    def feed_previous(self, container: str, content: str) -> None:
        """Process the log of a container's run before the present one; `container`: POD/CONTAINER."""
        said = _STAMP.sub("", content)
        error = root_error_of(said) or last_line(said)
        if error:
            self._last_words[container] = error

    def last_error(self) -> tuple[str, str] | None:
        """Return whose error it is, in words, and the error that tells most, or None."""
        found = sorted(self._errors.items(), key=lambda item: (follows(item[1]), _rank(item[0][0]), item[0]))
        if found:
            return f"The engine's own last error ({found[0][0][0]})", found[0][1]
        for container, words in sorted(self._last_words.items()):
            return f"The last words of container {container} before it was started again", words
        return None


def _rank(filename: str) -> int:
    return next(rank for rank, start in enumerate(_FILES) if filename.startswith(start))
