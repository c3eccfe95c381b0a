"""Addresses of the page "LLM deployments" inside Airflow: for extra links, messages and logs. Knows no Airflow.

Airflow shows the page in a frame at `/plugin/llm-deployments`, and mirrors the page's own path behind that, so the
app's prefix follows. Ids of trials and runs hold `/`, `:` and `+`: they are query parameters.
"""

from typing import Final

PREFIX: Final = "/llm-deployments"
_FRAME: Final = "/plugin/llm-deployments"
_SAFE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def now_link(root: str = "") -> str:
    """Return the address of the running trials. `root`: the path of Airflow's base URL; empty if it has none."""
    return _link(root, "now")


def trial_link(trial_id: str, root: str = "") -> str:
    """Return the address of one trial."""
    return _link(root, "trial", id=trial_id)


def run_link(experiment: str, dag_id: str, run_id: str, root: str = "") -> str:
    """Return the address of a DAG run's results."""
    return _link(root, "results", experiment=experiment, dag=dag_id, run=run_id)


def history_link(experiment: str = "", cell: str = "", root: str = "") -> str:
    """Return the address of the history, of one cell if it is given (its key)."""
    return _link(root, "history", experiment=experiment, cell=cell)


def target_link(target: str = "", root: str = "") -> str:
    """Return the address of the targets, of one if it is given."""
    return _link(root, "targets", target=target)


def owned_link(root: str = "") -> str:
    """Return the address of the list of what exists in clusters and clouds."""
    return _link(root, "owned")


def _link(root: str, view: str, **query: str) -> str:
    told = "&".join(f"{key}={_quoted(value)}" for key, value in query.items() if value)
    base = root.rstrip("/")
    return f"{base}{_FRAME}{base}{PREFIX}/{view}{f'?{told}' if told else ''}"


def _quoted(value: str) -> str:
    """Return a value percent-encoded (RFC 3986, section 2.1)."""
    data = value.encode("utf-8", "replace")
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in data)
