"""`llm-provisioning init`: copy the example DAGs and experiment files into a folder of the user.

The files are those of `example_dags/` in this package. This module knows where they are and not what they contain.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.exceptions import ConfigurationError

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "example_dags"

INIT: Final = """\
Copy the example DAGs and experiment files into a folder, which is created if it does not exist. No existing file is
overwritten unless --force is given: the first one that is found is named, and nothing is copied.

exit code:
  0   copied
  2   not copied: a file exists already, or the folder cannot be written"""

NEXT_STEPS: Final = """\
Next:
  1. Enter your clusters and Airflow connections in {folder}/experiments/example.yaml.
     To keep the experiment elsewhere, set AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE to its path.
  2. Run: llm-provisioning preflight {folder}/experiments/example.yaml
  3. Make {folder} part of Airflow's DAG folder, or set AIRFLOW__CORE__DAGS_FOLDER={folder}.
  4. In Airflow, trigger prepare_targets once, then single_trial.
     nightly_cold_start stays paused until you unpause it, because it uses GPU nodes every night.
simulated_demo needs the simulator (pip install llm-provisioning-simulator); without it, delete that DAG file.
"""


def add_init(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    parser = commands.add_parser(
        "init",
        help="copy the example DAGs and experiment files into a folder",
        description=INIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to, for example the DAG folder of Airflow")
    parser.add_argument("--force", action="store_true", help="overwrite existing files of the same names")
    parser.set_defaults(command=run_init)


def run_init(parsed: argparse.Namespace) -> int:
    """Copy the files, print their paths and the next steps; return 0."""
    copied = copy_examples(parsed.folder.absolute(), force=parsed.force)
    sys.stdout.write("".join(f"{path}\n" for path in copied))
    sys.stdout.write(NEXT_STEPS.format(folder=parsed.folder))
    return ExitCode.DONE


def copy_examples(folder: Path, *, force: bool) -> Sequence[Path]:
    """Copy every example file into `folder` and return the paths that were written.

    Raises `ConfigurationError` before anything is copied if a file exists and `force` is false, and also if a folder
    or file cannot be written.
    """
    pairs = [(source, folder / source.relative_to(EXAMPLES)) for source in example_files()]
    existing = [target for _, target in pairs if target.exists()]
    if existing and not force:
        raise ConfigurationError(
            f"The example files were not copied, because {existing[0]} exists already. Choose another folder, or "
            "overwrite existing files with --force."
        )
    try:
        for source, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        raise ConfigurationError(f"The example files cannot be written into {folder}: {error}.") from error
    return [target for _, target in pairs]


def example_files() -> Sequence[Path]:
    """Return the files to copy, sorted; byte code that Python left beside them is not among them."""
    return sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc")
