"""Measures how often `what-if` is right: `python benchmarks/foresight.py --worlds 28 --out foresight.json`."""

import argparse
import json
import sys
from pathlib import Path

from foreseen import coverage


def main() -> int:
    """Print the figures as JSON; exit 1 where fewer than 90 % of the later totals are inside."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=28)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--own-values", action="store_true", help="the profile's own values, not draws of its ranges")
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args()
    found = coverage(parsed.worlds, seed=parsed.seed, processes=parsed.processes, drawn=not parsed.own_values)
    text = json.dumps(found, indent=1)
    sys.stdout.write(f"{text}\n")
    if parsed.out:
        parsed.out.write_text(f"{text}\n", encoding="utf-8")
    return 0 if (found["what_if_coverage_90"] or 0) >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
