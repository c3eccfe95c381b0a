"""Print, as one JSON line, what a results store costs with many trials: size, ingestion rate, and the time and peak
memory of the newest run's table and of an arm's history; progress goes to stderr.

python benchmarks/store.py [--sizes 1000 10000 ...] [--databases sqlite postgresql] [--folder build/store]

Nights of 36 trials (twelve arms, three replicates) with 18 phases and 12 milestones each. The first night is written as
a teardown writes it, the others are copies of it in SQL, with other names, dates and times. Every measurement runs in a
process of its own, without its imports.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from stored import made, measured, servers

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def main() -> int:
    """Fill stores and measure them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of trials")
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--folder", type=Path, help="where the databases are made (default: a temporary folder)")
    parser.add_argument("--measure", nargs=2, metavar=("URL", "WHAT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured.measure(*asked.measure)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="llm-provisioning-store-", dir=asked.folder) as folder:
        for database in asked.databases:
            with servers.urls(database, Path(folder)) as new_url:
                for size in asked.sizes:
                    rows.append(figures(new_url(), database, size))
                    print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps({"stores": rows}))
    return 0


def figures(url: str, database: str, trials: int) -> dict[str, object]:
    """Return the figures of one store."""
    ingested = made.fill(url, trials)
    found: dict[str, object] = {"database": database, "trials": trials, "size_mb": round(made.size_mb(url)), **ingested}
    for what in ("table", "history"):
        took = measured.in_a_process(url, what)
        found |= {f"{what}_s": took["seconds"], f"{what}_cpu_s": took["cpu_s"], f"{what}_mb": took["peak_mb"]}
    return found


if __name__ == "__main__":
    sys.exit(main())
