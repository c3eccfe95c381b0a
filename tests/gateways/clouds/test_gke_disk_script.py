"""What a builder does with its disk: the script runs in Bash, against programs that say what containerd would."""

import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="needs the [google] extra")

from airflow_llm_provisioning.gateways.clouds.gke.disk_script import SCRIPT, outcome

pytestmark = pytest.mark.gke

CTR = """#!/bin/bash
case "$*" in
  *"images pull"*) [[ "$*" != *absent* ]] ;;
  *"images ls") echo "REF TYPE DIGEST" ;;
  *"snapshots ls") printf '%s\\n' "KEY PARENT KIND" "one  Committed" "two one Committed" "view two View" ;;
  *"mounts /unused view-one") echo "mount -t bind $LAYERS/snapshots/1/fs /unused -o ro,rbind" ;;
  *"mounts /unused view-two") echo "mount -o lowerdir=$LAYERS/snapshots/2/fs:$LAYERS/snapshots/1/fs" ;;
esac
"""


def run_script(folder: Path, image: str) -> str:
    """Run the script with the builder's programs replaced: containerd has two layers, one below the other."""
    programs = folder / "bin"
    programs.mkdir()
    curl = f'case "$*" in *llm-image) echo {image};; *llm-digest) echo sha256:ab;; *) echo secret;; esac'
    for name in ("apt-get", "systemctl", "mkfs.ext4", "mount", "umount", "jq"):
        (programs / name).write_text("#!/bin/bash\n[[ $0 != *jq ]] || cat\n")
    (programs / "curl").write_text(f"#!/bin/bash\n{curl}\n")
    (programs / "ctr").write_text(CTR)
    for program in programs.iterdir():
        program.chmod(0o755)
    for number in (1, 2):
        (folder / f"layers/snapshots/{number}/fs").mkdir(parents=True)
        (folder / f"layers/snapshots/{number}/fs/file").write_text(str(number))
    known = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LLM_DISK_TARGET": str(folder / "disk"),
        "LAYERS": str(folder / "layers"),
    }
    ran = subprocess.run(["bash"], input=SCRIPT, text=True, capture_output=True, check=False, env=known)  # noqa: S607
    assert "secret" not in ran.stdout
    return ran.stdout


def test_the_script_leaves_what_gkes_nodes_read(tmp_path: Path) -> None:
    """Each layer's own files below its path, and its chain id in `snapshots.metadata`; then the end is told."""
    assert outcome(run_script(tmp_path, "us-docker.pkg.dev/p/r/i")) == (True, "sha256:ab")
    disk = tmp_path / "disk"
    assert (disk / "snapshots.metadata").read_text() == "one snapshots/1/fs\ntwo snapshots/2/fs\n"
    assert [(disk / f"snapshots/{number}/fs/file").read_text() for number in (1, 2)] == ["1", "2"]
    assert (disk / "images.metadata").read_text() == "REF TYPE DIGEST\n"


def test_a_script_that_fails_names_its_stage(tmp_path: Path) -> None:
    """An image that is not there: what was tried is on the serial port."""
    told = outcome(run_script(tmp_path, "docker.io/absent"))
    assert told is not None
    assert told[0] is False
    assert told[1].startswith("pull docker.io/absent@sha256:ab")


def test_the_end_of_the_script_is_read_from_the_serial_port() -> None:
    """The port puts a prefix before each line."""
    line = "[  61.2] google_metadata_script_runner[700]: startup-script: "
    assert outcome(f"{line}LLM-DISK filled sha256:ab\n{line}done") == (True, "sha256:ab")
    assert outcome(f"{line}LLM-DISK failed: pull x@sha256:ab (line 30)") == (False, "pull x@sha256:ab (line 30)")
    assert outcome(line) is None
