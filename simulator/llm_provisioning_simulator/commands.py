"""The commands `llm-provisioning simulator`, `sweep` and `calibrate`. The provider finds them by the entry point group
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
    parser.add_argument("--calibrated", type=Path, help="a calibrated profile, laid over the shipped ones and declared")
    parser.add_argument("--base-port", type=int, default=0, help="first port; 0 takes free ones (default)")
    parser.set_defaults(command=_simulator)


def add_sweep(commands: Any) -> None:
    """Add `sweep`: move every uncertain number of the profiles to both ends of its range."""
    parser = commands.add_parser("sweep", help="show how each simulated reduction moves over every assumed range")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file")
    parser.add_argument("--out", type=Path, help="write the sweep as JSON")
    parser.set_defaults(command=_sweep)


def add_calibrate(commands: Any) -> None:
    """Add `calibrate`: which ranges of the profiles are consistent with given statements."""
    parser = commands.add_parser("calibrate", help="find which simulated worlds agree with given statements")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file: its targets and first workload")
    parser.add_argument("--statements", type=Path, help="your own, YAML (default: what the origin published)")
    parser.add_argument("--seed", type=int, default=1, help="decides every drawn world (default: 1)")
    parser.add_argument("--short", action="store_true", help="few worlds: shows that it runs, answers nothing")
    parser.add_argument("--out", type=Path, help="write all findings as JSON")
    parser.add_argument("--trials", type=Path, help="keep the whole trials' results here, and take them from here")
    parser.add_argument("--profile", type=Path, help="write the calibrated profile, TOML; its name is the file's")
    parser.set_defaults(command=_calibrate)


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
        calibrated_file=parsed.calibrated,
    )


def _sweep(parsed: argparse.Namespace) -> int:
    from llm_provisioning_simulator.sweep import sweep

    found = sweep(parsed.experiment, _progress)
    if parsed.out:
        parsed.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for line in found["lines"]:
        sys.stdout.write(f"{line}\n")
    return 0


def _calibrate(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.exceptions import ConfigurationError
    from llm_provisioning_simulator.calibration.findings import SHORT, Size, calibrate
    from llm_provisioning_simulator.calibration.lines import calibration_lines
    from llm_provisioning_simulator.calibration.profile_file import calibrated_profile_text
    from llm_provisioning_simulator.calibration.statements import origin_statements, read_statements
    from llm_provisioning_simulator.calibration.trials import KeptTrials
    from llm_provisioning_simulator.experiment import simulated_experiment
    from llm_provisioning_simulator.sweep import fingerprint

    for written in filter(None, (parsed.out, parsed.trials, parsed.profile)):
        # It computes for minutes: what cannot be written is said first.
        if written.is_dir() or not written.absolute().parent.is_dir():
            raise ConfigurationError(f"{written} cannot be written: it is a folder, or its folder does not exist.")
    experiment = simulated_experiment(parsed.experiment)
    statements = origin_statements()
    if parsed.statements:
        try:
            text = parsed.statements.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The statements {parsed.statements} cannot be read: {error}.") from error
        statements = read_statements(text, str(parsed.statements))
    kept = KeptTrials(parsed.trials, fingerprint(parsed.experiment))
    found = calibrate(statements, experiment, SHORT if parsed.short else Size(), parsed.seed, _say, kept)
    if parsed.out:
        parsed.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if parsed.profile:
        command = f"llm-provisioning calibrate {parsed.experiment.name} --seed {parsed.seed}"
        text = calibrated_profile_text(parsed.profile.stem, found, command)
        parsed.profile.write_text(text, encoding="utf-8")
    for line in calibration_lines(found):
        sys.stdout.write(f"{line}\n")
    return 0


def _say(told: str) -> None:
    sys.stderr.write(f"{told}\n")
    sys.stderr.flush()


def _progress(done: int, total: int) -> None:
    """Say on stderr how far a sweep is: in place on a terminal, else a line for every tenth."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} trials" + ("\n" if done == total else ""))
    elif done * 10 // total > (done - 1) * 10 // total:
        sys.stderr.write(f"{done} of {total} trials\n")
    sys.stderr.flush()
