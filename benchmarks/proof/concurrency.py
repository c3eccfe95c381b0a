"""Proof: one triggerer records many trials at once, loses none of their events, and reacts at once to a ready endpoint.

There are two further processes. `concurrency_clusters` runs small HTTPS API servers.
`concurrency_triggerer` runs the real trigger with the real recorder and a results store on SQLite. This process reads
the processor time and memory of the triggerer from /proc, and compares the sent versions with the store.

The figures:
- `events_lost`: versions sent on a watch during the recording, minus those that are in their trial's trace exactly once
  and in their object's order. Watches end and begin again meanwhile, as on a real server.
- `cpu_s_per_trial`: processor time of the recording process for a whole trial (connecting, `recording_s` seconds of
  recording, the closing collection), without the server.
- `rss_mb_per_trial`: highest memory of that process (PSS) during the recording, minus its memory after one first trial,
  divided by the number of trials.
- `ready_lag_ms_p99`: from the instant the server has the ready endpoint until the trial's first request to the model
  arrives there, in the server's clock. It includes both ways of the network and the server's queue.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, Final

from proof import Size
from proof.concurrency_clusters import Plan
from proof.concurrency_triggerer import trial_id
from proof.self_signed import self_signed

ROOT: Final = Path(__file__).resolve().parents[1]
# With fewer trials than this, a smaller number for comparison proves nothing.
MIN_TRIALS_FOR_GROWTH: Final = 100
SAMPLE_S: Final = 0.5
STEP_TIMEOUT_S: Final = 240.0


def prove(size: Size) -> dict[str, Any]:
    """Record `size.concurrent_trials` at once, and fewer before that, each at the same rate of events per trial.

    `growth`: the figures for each number of trials, with more of them than the proof needs.
    """
    most = size.concurrent_trials
    numbers = [most // 8, most // 4, most // 2, most] if most >= MIN_TRIALS_FOR_GROWTH else [most]
    growth = []
    for number in numbers:
        plan = Plan(
            trials=number,
            events_per_s=size.events_per_s * number / most,
            recording_s=size.recording_s,
            seed=size.seed,
        )
        growth.append(measured(plan))
        sys.stderr.write(f"concurrency: {json.dumps(growth[-1])}\n")
    last = growth[-1]
    names = ("events_lost", "cpu_s_per_trial", "rss_mb_per_trial", "ready_lag_ms_p99")
    return {"concurrent_trials": last["trials"], **{name: last[name] for name in names}, "growth": growth}


def measured(plan: Plan) -> dict[str, Any]:
    """Record all clusters of a plan at once and return the cost and the stored data."""
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-proof-") as folder:
        store = Path(folder, "results.db")
        certificate = Path(folder, "api.pem")
        certificate.write_bytes(self_signed("concurrency"))
        with Child("proof.concurrency_clusters", [json.dumps(asdict(plan)), str(certificate)], {}) as clusters:
            url = clusters.step("serving")["url"]
            environment = {
                "AIRFLOW_HOME": folder,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
                "AIRFLOW_CONN_RESULTS": json.dumps({"conn_type": "sqlite", "host": str(store)}),
            }
            arguments = [url, json.dumps(asdict(plan)), str(certificate)]
            with Child("proof.concurrency_triggerer", arguments, environment) as triggerer:
                figures, told = _watched(plan, clusters, triggerer)
        return {**figures, **kept(store, told["sent"])}


def _watched(plan: Plan, clusters: "Child", triggerer: "Child") -> tuple[dict[str, Any], dict[str, Any]]:
    triggerer.step("warm")
    alone_mb, cpu_s = triggerer.memory_mb(), [triggerer.cpu_s()]
    begins = clusters.step("load_begins")
    if not begins["watched"]:
        raise RuntimeError(f"not all clusters of {plan.trials} trials were watched in time")
    cpu_s.append(triggerer.cpu_s())
    server_s, queued_s = clusters.cpu_s(), triggerer.queued_s()
    highest_mb = _highest_mb(triggerer, clusters)
    ends = clusters.step("load_ends")
    cpu_s.append(triggerer.cpu_s())
    server_s, queued_s = clusters.cpu_s() - server_s, triggerer.queued_s() - queued_s
    told = clusters.step("told")
    outcomes = triggerer.step("ended")["outcomes"]
    cpu_s.append(triggerer.cpu_s())
    lags_ms = sorted(lag_s * 1000 for lag_s in told["lags_s"] if lag_s is not None)
    figures = {
        "trials": plan.trials,
        "not_ready": sum(outcome != "ready" for outcome in outcomes),
        "events_per_s": round(ends["sent"] / ends["seconds"], 1),
        "cpu_s_per_trial": round((cpu_s[3] - cpu_s[0]) / plan.trials, 3),
        "cpu_s_per_trial_to_begin": round((cpu_s[1] - cpu_s[0]) / plan.trials, 3),
        "cpu_s_per_trial_and_minute": round((cpu_s[2] - cpu_s[1]) / plan.trials / ends["seconds"] * 60, 3),
        "cores_while_recording": round((cpu_s[2] - cpu_s[1]) / ends["seconds"], 3),
        "cores_of_the_servers": round(server_s / ends["seconds"], 3),
        # The load by other processes: some hundredths on a quiet machine. Only then the lag is the recorder's.
        "share_of_time_without_a_core": round(queued_s / ends["seconds"], 3),
        "rss_mb": round(highest_mb, 1),
        "rss_mb_per_trial": round((highest_mb - alone_mb) / plan.trials, 3),
        # A trial without a reaction has no lag; its absence must not improve the other figures.
        "ready_lag_ms_p50": quantile(lags_ms, 0.5) if len(lags_ms) == plan.trials else None,
        "ready_lag_ms_p99": quantile(lags_ms, 0.99) if len(lags_ms) == plan.trials else None,
        "ready_lag_ms_max": round(lags_ms[-1], 1) if len(lags_ms) == plan.trials else None,
        "load_average": os.getloadavg()[0],
    }
    return figures, told


def _highest_mb(triggerer: "Child", clusters: "Child") -> float:
    highest = 0.0
    while not clusters.messages:
        highest = max(highest, triggerer.memory_mb())
        time.sleep(SAMPLE_S)
    return max(highest, triggerer.memory_mb())


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as this share of the values."""
    return round(ascending[max(0, ceil(share * len(ascending)) - 1)], 1)


def kept(store: Path, sent: Sequence[Sequence[Sequence[str]]]) -> dict[str, int]:
    """Compare the sent versions with the store: {events_sent, events_lost, trace_bytes}."""
    from airflow_llm_provisioning.core.trace import decode_trace
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    results = ResultsStore.open(f"sqlite:///{store}")
    lost = stored_bytes = 0
    try:
        for number, told in enumerate(sent):
            chunks = results.trace(trial_id(number))
            stored_bytes += sum(map(len, chunks))
            found = decode_trace(chunks).lines if chunks else ()
            lost += _lost(told, found)
    finally:
        results.close()
    return {
        "events_sent": sum(map(len, sent)),
        "events_lost": lost,
        "trace_kb_per_trial": round(stored_bytes / 1000 / len(sent)),
    }


def _lost(told: Sequence[Sequence[str]], lines: Sequence[Mapping[str, Any]]) -> int:
    """Count the sent versions that are not in a trace exactly once and after their object's earlier versions."""
    found: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if line["resource"] != "trace" and line.get("type") in ("LISTED", "ADDED", "MODIFIED"):
            metadata = line["object"]["metadata"]
            found.setdefault((line["resource"], metadata["uid"]), []).append(int(metadata["resourceVersion"]))
    lost = 0
    for resource, uid, version in told:
        versions = found.get((resource, uid), [])
        number = int(version)
        before = versions[: versions.index(number)] if number in versions else [number]
        lost += versions.count(number) != 1 or any(earlier >= number for earlier in before)
    return lost


class Child:
    """A process that prints JSON lines. It ends when its standard input closes; otherwise it is killed."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._module = module
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT.parent)))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *failure: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=0.1 if failure[0] else 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self._process.kill()
        self._process.wait()

    def step(self, name: str) -> dict[str, Any]:
        """Wait for the next step and return its data."""
        with self._more:
            if not self._more.wait_for(lambda: self.messages or not self._reader.is_alive(), timeout=STEP_TIMEOUT_S):
                raise RuntimeError(f"{self._module} did not reach {name!r} within {STEP_TIMEOUT_S:.0f} s")
            if not self.messages or self.messages[0]["step"] != name:
                raise RuntimeError(f"{self._module} reached {self.messages[:1] or 'its end'} instead of {name!r}")
            return self.messages.pop(0)

    def cpu_s(self) -> float:
        """Return its processor time."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def queued_s(self) -> float:
        """Return how long its main thread waited for a core (Linux, schedstat)."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9

    def files(self) -> int:
        """Return how many files the process has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def sockets(self) -> int:
        """Return how many sockets the process has open."""
        found = 0
        for entry in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(OSError):
                found += str(entry.readlink()).startswith("socket:")
        return found

    def memory_mb(self) -> float:
        """Return its share of the machine's memory (PSS)."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:"))

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        with self._process.stdout as lines:
            for line in lines:
                if line.startswith("{"):  # Airflow may print other lines
                    with self._more:
                        self.messages.append(json.loads(line))
                        self._more.notify_all()
        with self._more:
            self._more.notify_all()
