"""Run a program with the simulator's environment variables: Airflow's connections to it, and the model hub."""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    file, *command = sys.argv[1:]
    os.execvpe(command[0], command, {**os.environ, **json.loads(Path(file).read_text(encoding="utf-8"))})  # noqa: S606
