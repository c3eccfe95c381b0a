"""Print, as one JSON line, what the lines about a running deployment cost: CPU microseconds per recorded line.

python benchmarks/progress.py [--rounds N]

Feeds the recordings of `tests/recordings` to the wait's judgement as the recorder does, without and with the lines. The
first figure is what a wait costs without them. `late` feeds the last tenth of a ten times longer deployment: a line
must cost no more then.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.progress import LiveProgress
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.gateways.recording.progress import Progress

RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "recordings"
NAMES = ("static", "dynamic", "node-late")


def recorded(name: str) -> list[Any]:
    """Return the lines of a recording until its RayService is deleted, with the time of their receipt."""
    lines = decode_trace((RECORDINGS / f"{name}.jsonl.gz").read_bytes()).lines
    kept = []
    for line in sorted(lines, key=lambda one: str(one["received_at"])):
        if line["resource"] == "rayservices" and line["object"]["metadata"].get("deletionTimestamp"):
            break
        kept.append((line, parse_instant(line["received_at"])))
    return kept


def judge(lines: list[Any], *, told: bool) -> Progress:
    """Return a judgement that has read nothing yet."""
    first = next(line["object"]["metadata"] for line, _ in lines if line["resource"] == "rayservices")
    live = LiveProgress(parse_instant(first["creationTimestamp"])) if told else None  # type: ignore[arg-type]
    return Progress(first["namespace"], first["name"], first["uid"], live=live)


def microseconds(lines: list[Any], *, told: bool, rounds: int, repeated: int = 1) -> float:
    """Return CPU microseconds per line; with `repeated`, of the last repetition of the lines."""
    taken = []
    for _ in range(rounds):
        progress = judge(lines, told=told)
        for _ in range(repeated):
            begun = time.process_time()
            for line, received_at in lines:
                progress.take(line, received_at)
                progress.news()
            spent = time.process_time() - begun
        taken.append(spent / len(lines) * 1e6)
    return round(median(taken), 1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    figures: dict[str, Any] = {}
    for name in NAMES:
        lines = recorded(name)
        without = microseconds(lines, told=False, rounds=rounds)
        told = microseconds(lines, told=True, rounds=rounds)
        late = microseconds(lines, told=True, rounds=max(3, rounds // 10), repeated=10)
        figures[name] = {
            "lines": len(lines), "without_us": without, "with_us": told, "late_us": late,
        }  # fmt: skip
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
