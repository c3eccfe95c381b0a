"""Print, as one JSON line, the figures behind the claims about the measurement; progress goes to stderr.

python benchmarks/measurement.py [--deployments N] [--only NAME ...] [--short] [--seed N] [--details FILE]

The proofs are the modules of `proof`; docs/measurement.md explains each figure. The figure of a proof that was not run,
or failed, is null.
"""

import argparse
import importlib
import json
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proof import FIGURES, FULL, SHORT, Size


def measure(names: Sequence[str], size: Size) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Run proofs; return the figures in their order, the details per proof, and the names of the failed proofs."""
    figures: dict[str, Any] = {figure: None for told in FIGURES.values() for figure in told}
    details: dict[str, Any] = {}
    broken: list[str] = []
    for name in (name for name in FIGURES if name in names):
        _report(f"{name} ...")
        begun = time.perf_counter()
        try:
            found: dict[str, Any] = importlib.import_module(f"proof.{name}").prove(size)
        except Exception:  # noqa: BLE001 - a failed proof must not prevent the others; it is named and counted
            _report(traceback.format_exc())
            broken.append(name)
            continue
        figures |= {figure: found.get(figure) for figure in FIGURES[name]}
        details[name] = {key: value for key, value in found.items() if key not in FIGURES[name]}
        _report(f"{name}: {time.perf_counter() - begun:.0f} s; {json.dumps(details[name])}")
    return figures, details, broken


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--deployments", type=int, metavar="N", help=f"generated deployments ({FULL.deployments})")
    parser.add_argument("--only", nargs="+", choices=tuple(FIGURES), metavar="NAME", help=f"of: {', '.join(FIGURES)}")
    parser.add_argument("--short", action="store_true", help="the size of a test run: seconds instead of minutes")
    parser.add_argument(
        "--seed", type=int, default=FULL.seed, metavar="N", help=f"seed of the random numbers ({FULL.seed})"
    )
    parser.add_argument("--details", type=Path, metavar="FILE", help="write the details of the proofs, as JSON")
    return parser.parse_args(argv)


def main() -> int:
    """Run the proofs of the command line."""
    asked = arguments()
    size = replace(SHORT if asked.short else FULL, seed=asked.seed)
    if asked.deployments is not None:
        size = replace(size, deployments=asked.deployments)
    figures, details, broken = measure(asked.only or tuple(FIGURES), size)
    if asked.details:
        asked.details.parent.mkdir(parents=True, exist_ok=True)
        asked.details.write_text(json.dumps({"figures": figures, "details": details}, indent=1) + "\n")
    print(json.dumps(figures))
    if broken:
        _report(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
