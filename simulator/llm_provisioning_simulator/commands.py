"""The commands `llm-provisioning simulator` and `sweep`. The provider finds them by the entry point group
`llm_provisioning.commands`; each function adds one parser.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_simulator(commands: Any) -> None:
    """Add `simulator`: serve simulated clusters and cloud APIs until it is interrupted."""
    parser = commands.add_parser("simulator", help="serve simulated clusters and cloud APIs on 127.0.0.1")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file: its targets name the clusters")
    parser.add_argument("--speed", type=float, default=25.0, help="simulated seconds per real second (default: 25)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (default: 1)")
    parser.add_argument("--clouds", default="eks,gke,aks", help="only these clouds (default: all)")
    parser.add_argument("--connections", type=Path, help="write the Airflow connections to this file (JSON)")
    parser.add_argument("--catalogue", type=Path, help="YAML: images and models besides the public ones")
    parser.add_argument("--base-port", type=int, default=0, help="first port; 0 takes free ones (default)")
    parser.set_defaults(command=_simulator)


def add_sweep(commands: Any) -> None:
    """Add `sweep`: move every uncertain number of the profiles to both ends of its range."""
    parser = commands.add_parser("sweep", help="show how each simulated reduction moves over every assumed range")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file")
    parser.add_argument("--out", type=Path, help="write the sweep as JSON")
    parser.set_defaults(command=_sweep)


def _simulator(parsed: argparse.Namespace) -> int:
    from llm_provisioning_simulator.server import serve

    return serve(
        parsed.experiment,
        clouds=parsed.clouds.split(","),
        speed=parsed.speed,
        seed=parsed.seed,
        base_port=parsed.base_port,
        connections_file=parsed.connections,
        catalogue_file=parsed.catalogue,
    )


def _sweep(parsed: argparse.Namespace) -> int:
    from llm_provisioning_simulator.sweep import sweep

    found = sweep(parsed.experiment, _progress)
    if parsed.out:
        parsed.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for line in found["lines"]:
        sys.stdout.write(f"{line}\n")
    return 0


def _progress(done: int, total: int) -> None:
    """Say on stderr how far a sweep is: in place on a terminal, else a line for every tenth."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} trials" + ("\n" if done == total else ""))
    elif done * 10 // total > (done - 1) * 10 // total:
        sys.stderr.write(f"{done} of {total} trials\n")
    sys.stderr.flush()
