"""Prints what many waits cost a triggerer: processor, memory, files and how late they see a ready endpoint.

The waits are real triggers with the real recorder, their results store is SQLite, and their API servers are small HTTPS
servers in another process (`proof.concurrency`). Each number of waits is measured with the machine's other core idle
and busy. `--per-cluster` waits share a cluster, as single operators of one namespace do; trials have a cluster each.

`--one-dies` kills one of two triggerers while all waits are recorded; the other one takes its waits over, as Airflow's
triggerers do, and one JSON line says what came of them.

`neighbour_ms_p99`: how late a trigger of another provider in the same process is woken. `without_a_core`: the share of
the time in which the triggerer wanted a core and had none; it is the machine's, not the waits'.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from proof.concurrency import Child, kept, quantile
from proof.concurrency_clusters import Plan
from proof.concurrency_triggerer import trial_id
from proof.self_signed import self_signed

WAITS: Final = (50, 100, 200, 400, 1000)
# Far more than the recorded deployments had: at most 63 versions in their busiest minute (tests/recordings).
EVENTS_PER_WAIT_S: Final = 5.0
MOST_EVENTS_S: Final = 1000.0
MOST_PER_TRIGGERER: Final = 400
SAMPLE_S: Final = 1.0
# Every recorder has stored its first lines by then (`recording.lines.FLUSH_S`).
RECORDED_S: Final = 8.0
COLUMNS: Final = (
    "waits", "triggerers", "per_cluster", "other_core", "events_per_s", "cores", "mb_per_wait", "connections_per_wait",
    "files", "lag_ms_p50", "lag_ms_p99", "neighbour_ms_p99", "events_lost", "without_a_core", "load",
)  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", default=",".join(map(str, WAITS)))
    parser.add_argument("--per-cluster", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--events-per-wait", type=float, default=EVENTS_PER_WAIT_S, metavar="N", help="in a second")
    parser.add_argument("--other-core", default="idle,busy")
    parser.add_argument(
        "--tuned",
        action="store_true",
        help="with [llm_provisioning] tune_garbage_collector and small_tls_buffers",
    )
    parser.add_argument("--one-dies", action="store_true", help="two triggerers, of which one is killed")
    options = parser.parse_args()
    if options.one_dies:
        for waits in map(int, options.waits.split(",")):
            print(json.dumps(taken_over(_plan(waits, options, interrupted=True), tuned=options.tuned)), flush=True)
        return 0
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for waits in map(int, options.waits.split(",")):
        for other in options.other_core.split(","):
            with _busy(other == "busy"):
                found = measured(_plan(waits, options), tuned=options.tuned) | {"other_core": other}
            print(f"| {' | '.join(str(found[name]) for name in COLUMNS)} |", flush=True)
    return 0


def _plan(waits: int, options: argparse.Namespace, *, interrupted: bool = False) -> Plan:
    return Plan(
        trials=waits,
        per_cluster=options.per_cluster,
        events_per_s=min(MOST_EVENTS_S, waits * options.events_per_wait),
        recording_s=options.seconds,
        seed=1,
        interrupted=interrupted,
    )


def measured(plan: Plan, *, tuned: bool) -> dict[str, Any]:
    """Run the waits of a plan, on as many triggerers as they need, and return the row."""
    parts = -(-plan.trials // MOST_PER_TRIGGERER)
    with _triggerers(plan, parts, tuned=tuned) as (clusters, triggerers, store):
        figures, sent = _recorded(plan, clusters, triggerers)
        for triggerer in triggerers:
            figures["neighbour_ms_p99"] = max(
                triggerer.step("ended")["neighbour_ms_p99"], figures.get("neighbour_ms_p99", 0.0)
            )
        return {**figures, "events_lost": kept(store, sent)["events_lost"]}


def taken_over(plan: Plan, *, tuned: bool) -> dict[str, Any]:
    """Kill one of two triggerers while all waits are recorded, and return what came of the waits.

    `resumed`: trials whose recording was continued. The trials become ready when all are watched again; what is sent
    from then on counts for `events_lost`. `taken_over_s`: from the death until then. Airflow's own time to notice a
    death (`[triggerer] triggerer_health_check_threshold`, 30 s) comes on top.
    """
    with _triggerers(plan, 2, tuned=tuned) as (clusters, (other, dies), store):
        alone_mb = other.memory_mb()
        clusters.step("interruptible")
        time.sleep(RECORDED_S)
        own_mb = other.memory_mb()
        dies.kill()
        other.tell("1")
        again = clusters.step("watched_again")
        if not again["watched"]:
            raise RuntimeError(f"not all of {plan.trials} waits were taken over in time")
        all_mb = other.memory_mb()
        figures, sent = _recorded(plan, clusters, [other])
        outcomes = other.step("ended")["outcomes"]
        return {
            "waits": plan.trials,
            "ready": outcomes.count("ready"),
            "resumed": _resumed(store, plan.trials),
            "taken_over_s": round(again["after_s"], 1),
            "mb_before": round(own_mb - alone_mb, 1),
            "mb_after": round(all_mb - alone_mb, 1),
            **{name: figures[name] for name in ("lag_ms_p50", "lag_ms_p99", "without_a_core", "load")},
            "events_lost": kept(store, sent)["events_lost"],
        }


def _resumed(path: Path, trials: int) -> int:
    from airflow_llm_provisioning.core.trace import decode_trace
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    store = ResultsStore.open(f"sqlite:///{path}")
    try:
        lines = [decode_trace(store.trace(trial_id(number))).lines for number in range(trials)]
    finally:
        store.close()
    return sum(sum(line.get("type") == "HEADER" for line in told) > 1 for told in lines)


@contextmanager
def _triggerers(plan: Plan, parts: int, *, tuned: bool) -> Iterator[tuple[Child, list[Child], Path]]:
    """Start the clusters and the triggerers, each with its part of the waits; yield them and the store's file."""
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-scale-") as folder, ExitStack() as running:
        store, certificate = Path(folder, "results.db"), Path(folder, "api.pem")
        certificate.write_bytes(self_signed("scale"))
        arguments = [json.dumps(asdict(plan)), str(certificate)]
        clusters = running.enter_context(Child("proof.concurrency_clusters", arguments, {}))
        url = clusters.step("serving")["url"]
        environment = {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__LLM_PROVISIONING__TUNE_GARBAGE_COLLECTOR": str(tuned),
            "AIRFLOW__LLM_PROVISIONING__SMALL_TLS_BUFFERS": str(tuned),
            "AIRFLOW_CONN_RESULTS": json.dumps({"conn_type": "sqlite", "host": str(store)}),
        }
        triggerers = []
        for part in range(parts):
            words = [url, arguments[0], str(certificate), str(part), str(parts)]
            triggerers.append(running.enter_context(Child("proof.concurrency_triggerer", words, environment)))
            triggerers[-1].step("warm")
        yield clusters, triggerers, store


def _recorded(plan: Plan, clusters: Child, triggerers: Sequence[Child]) -> tuple[dict[str, Any], Any]:
    alone_mb = sum(triggerer.memory_mb() for triggerer in triggerers)
    alone_files = sum(triggerer.sockets() for triggerer in triggerers)
    if not clusters.step("load_begins")["watched"]:
        raise RuntimeError(f"not all clusters of {plan.trials} waits were watched in time")
    cpu_s = sum(triggerer.cpu_s() for triggerer in triggerers)
    queued_s = sum(triggerer.queued_s() for triggerer in triggerers)
    highest_mb, sockets = 0.0, 0
    while not clusters.messages:
        highest_mb = max(highest_mb, sum(triggerer.memory_mb() for triggerer in triggerers))
        sockets = max(sockets, sum(triggerer.sockets() for triggerer in triggerers))
        time.sleep(SAMPLE_S)
    ends = clusters.step("load_ends")
    cpu_s = sum(triggerer.cpu_s() for triggerer in triggerers) - cpu_s
    queued_s = sum(triggerer.queued_s() for triggerer in triggerers) - queued_s
    told = clusters.step("told")
    lags_ms = sorted(lag_s * 1000 for lag_s in told["lags_s"] if lag_s is not None)
    complete = len(lags_ms) == plan.trials
    return {
        "waits": plan.trials,
        "triggerers": len(triggerers),
        "per_cluster": plan.per_cluster,
        "events_per_s": round(ends["sent"] / ends["seconds"]),
        "cores": round(cpu_s / ends["seconds"], 2),
        "mb_per_wait": round((highest_mb - alone_mb) / plan.trials, 2),
        "connections_per_wait": round((sockets - alone_files) / plan.trials, 2),
        "files": max(triggerer.files() for triggerer in triggerers),
        "lag_ms_p50": quantile(lags_ms, 0.5) if complete else None,
        "lag_ms_p99": quantile(lags_ms, 0.99) if complete else None,
        "without_a_core": round(queued_s / ends["seconds"] / len(triggerers), 2),
        "load": round(os.getloadavg()[0], 1),
    }, told["sent"]


@contextmanager
def _busy(wanted: bool) -> Iterator[None]:
    """Keep one core busy by another process."""
    process = multiprocessing.Process(target=_spin, daemon=True)
    if wanted:
        process.start()
    try:
        yield
    finally:
        if wanted:
            process.kill()
            process.join()


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
