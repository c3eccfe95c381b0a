"""The builder instances behind the simulated EC2 and SSM: their states in virtual time, and what is on their disks.

moto keeps the objects; it moves them at once. Here they take time, and commands do what their text says: an image is on
the data volume only if a command pulled it there, under the label that kubelet needs. A snapshot holds what was on the
volume when it was taken.
"""

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from llm_provisioning_simulator.world import Snapshot, World, normalise

# Seconds, unless named otherwise. BPC = awslabs/ai-on-eks, preload-container-images.md (2024): m5.large, 150 GiB
# volume, ray-ml 2.10 and a second image; stack 194 s, SSM 1 s later, stop kubelet 2 s, clean-up 2 s, pull 338 s for
# about 10 GiB, stop 49 s, snapshot 371 s.
MACHINE_DURATIONS: Final[Mapping[str, float]] = {
    "running_s": 15.0,  # assumed, 5 to 30; part of the stack's 194 s
    "ssm_online_s": 180.0,  # BPC: the rest of the 194 s, and 1 s
    "command_overhead_s": 2.0,  # BPC
    "pull_bytes_s": 31.8e6,  # BPC: 10 GiB in 338 s, unpacking included
    "stop_s": 49.0,  # BPC
    "terminate_s": 40.0,  # assumed, 20 to 90
    "snapshot_base_s": 30.0,  # assumed, 10 to 60
    "snapshot_s_per_gib": 6.0,  # BPC: 371 s for about 57 GiB on the volume (18.6 GiB of images, kept and unpacked)
}
UNPACKED_PER_COMPRESSED: Final = 3.06
"""Bytes on the volume per compressed byte: the blobs themselves and their unpacked files (6.8 / 3.3 as for wheels)."""
DATA_DEVICE: Final = "/dev/xvdb"
# bottlerocket.dev documents 1.53; awslabs/amazon-eks-ami names its releases by date.
NEWEST_BOTTLEROCKET: Final = "v1.53.0"
NEWEST_AL2023: Final = "v20261101"
CRI_LABEL: Final = "io.cri-containerd.image=managed"
GIB: Final = 1024**3


@dataclass(slots=True)
class Machine:
    """One instance. `images`: reference -> (digest, labels) in containerd's k8s.io namespace on its data volume."""

    instance_id: str
    region: str
    user_data: str
    ami: "Ami | None"
    launched_at: datetime
    stop_at: datetime | None = None
    terminate_at: datetime | None = None
    images: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    kubelet_runs: bool = True
    reaches_aws: bool = True
    """Whether its subnet and its address let it reach SSM."""

    def admin_container(self) -> bool:
        """Return whether the user data gave a way into the host."""
        try:
            settings = tomllib.loads(self.user_data).get("settings", {})
        except tomllib.TOMLDecodeError:
            return False
        return bool(settings.get("host-containers", {}).get("admin", {}).get("enabled"))

    def visible_images(self) -> dict[str, str]:
        """Return what kubelet would find: reference -> digest of the images that carry the CRI label."""
        return {name: digest for name, (digest, labels) in self.images.items() if CRI_LABEL in labels}


@dataclass(frozen=True, slots=True)
class Ami:
    """A node image: the minor version and the variant its SSM parameter names. `alias`: as in NodeSpec."""

    ami_id: str
    minor: str
    nvidia: bool
    alias: str = ""

    @property
    def name(self) -> str:
        """Its name, which holds system, minor version, variant and version, as AWS's own have them."""
        system, _, version = self.alias.partition("@")
        variant = "-nvidia" if self.nvidia else ""
        if system == "al2023":
            return f"amazon-eks-node-al2023-x86_64{variant}-{self.minor}-{_numbered(version, NEWEST_AL2023)}"
        return f"bottlerocket-aws-k8s-{self.minor}{variant}-x86_64-{_numbered(version, NEWEST_BOTTLEROCKET)}-simulated"


@dataclass(slots=True)
class Command:
    """One SSM command on one instance. Its effects happen when it ends, if the instance lives until then."""

    command_id: str
    instance_id: str
    comment: str
    lines: list[str]
    sent_at: datetime
    ends_at: datetime
    status: str
    details: str
    output: str = ""
    error: str = ""
    settled: bool = False


@dataclass(slots=True)
class TakenSnapshot:
    """A snapshot that is being stored, or is. `images` and the minor version are those of the volume when taken."""

    snapshot_id: str
    region: str
    size_gib: int
    images: dict[str, str]
    minor: str | None
    completes_at: datetime
    fails: bool


def state_of(machine: Machine, now: datetime, durations: Mapping[str, float]) -> tuple[str, int]:
    """Return EC2's name and code of a machine's state at an instant."""
    if machine.terminate_at is not None:
        ended = now >= machine.terminate_at + timedelta(seconds=durations["terminate_s"])
        return ("terminated", 48) if ended else ("shutting-down", 32)
    if machine.stop_at is not None:
        ended = now >= machine.stop_at + timedelta(seconds=durations["stop_s"])
        return ("stopped", 80) if ended else ("stopping", 64)
    running = now >= machine.launched_at + timedelta(seconds=durations["running_s"])
    return ("running", 16) if running else ("pending", 0)


def online(machine: Machine, now: datetime, durations: Mapping[str, float], faults: Mapping[str, Any]) -> bool:
    """Return whether SSM reaches a machine. One without a way out, and the -nvidia variant without a GPU
    (bottlerocket#4435), never get there.
    """
    if not machine.reaches_aws or faults.get("ssm_never_online") or (machine.ami is not None and machine.ami.nvidia):
        return False
    booted = now >= machine.launched_at + timedelta(seconds=durations["running_s"] + durations["ssm_online_s"])
    return booted and state_of(machine, now, durations)[0] == "running"


def plan_command(
    machine: Machine,
    lines: list[str],
    world: World,
    durations: Mapping[str, float],
    faults: Mapping[str, Any],
    execution_timeout_s: float,
) -> tuple[float, str, str, str]:
    """Return (seconds, status, output, error) of a command; nothing is done yet."""
    if any("sheltie" in line for line in lines) and not machine.admin_container():
        return durations["command_overhead_s"], "Failed", "", "host container 'admin' is not running"
    seconds, output, error = durations["command_overhead_s"], list[str](), ""
    present = set(machine.images)
    for line in lines:
        took, said, problem = _plan_line(present, line, world, durations, faults)
        seconds += took
        output += [said] if said else []
        if problem:
            error = problem
            break
    if seconds > execution_timeout_s:
        return execution_timeout_s, "TimedOut", "\n".join(output), ""
    return seconds, "Failed" if error else "Success", "\n".join(output), error


def carry_out(machine: Machine, lines: list[str], world: World) -> None:
    """Do what a command that went well did to the data volume."""
    for line in lines:
        words = _words(line)
        pulled, labels = _pulled(words)
        if "systemctl" in words and "stop" in words and "kubelet" in words:
            machine.kubelet_runs = False
        elif "images" in words and "rm" in words:
            machine.images.clear()
        elif pulled:
            image = world.find_image(pulled)
            if image is not None:
                machine.images[pulled] = (image.digest, set(labels))
        elif "label" in words:
            reference, *added = words[words.index("label") + 1 :]
            if reference in machine.images:
                machine.images[reference][1].update(added)


def stored_gib(images: Mapping[str, str], world: World) -> float:
    """Return how much of a volume its images fill, which is what a snapshot has to store."""
    known = {image.digest: image for image in world.images.values()}
    compressed = sum(known[digest].compressed_bytes for digest in set(images.values()) if digest in known)
    return compressed * UNPACKED_PER_COMPRESSED / GIB


def snapshot_of(taken: TakenSnapshot) -> Snapshot:
    """Return the snapshot as simulated nodes see it."""
    return Snapshot(taken.snapshot_id, dict(taken.images), taken.size_gib, taken.minor)


def _numbered(version: str, newest: str) -> str:
    return newest if version in ("", "latest") else version


def _plan_line(
    present: set[str], line: str, world: World, durations: Mapping[str, float], faults: Mapping[str, Any]
) -> tuple[float, str, str]:
    """Return (seconds, output, error) of one line, and add to `present` what it would pull."""
    words = _words(line)
    reference, _ = _pulled(words)
    if reference:
        present.add(reference)
        return _plan_pull(reference, world, durations, faults)
    if "images" in words and "ls" in words and not line.startswith("images="):
        return 0.0, "\n".join(sorted(present)), ""
    known = {"set", "systemctl", "label", "rm", "images=$(apiclient"}
    if not known & set(words):
        return 0.0, "", f"{words[0] if words else line}: command not found"
    return durations["command_overhead_s"] if "systemctl" in words or "rm" in words else 0.0, "", ""


def _plan_pull(
    reference: str, world: World, durations: Mapping[str, float], faults: Mapping[str, Any]
) -> tuple[float, str, str]:
    image = world.find_image(reference)
    if faults.get("pull_times_out"):
        return float("inf"), "", ""
    if image is None or reference != normalise(reference) or faults.get("pull_fails"):
        return 3.0, "", f"failed to pull and unpack image {reference!r}: failed to resolve reference: not found"
    return image.compressed_bytes / durations["pull_bytes_s"], "", ""


def _pulled(words: list[str]) -> tuple[str, list[str]]:
    """Return (reference, labels) of a pull by host-ctr or by ctr; an empty reference for any other command."""
    labels = [word.partition("--label=")[2] for word in words if word.startswith("--label=")]
    if "pull-image" in words:
        return next((word.partition("=")[2] for word in words if word.startswith("--source=")), ""), labels
    if "images" in words and "pull" in words:
        return words[-1], labels
    return "", []


def _words(line: str) -> list[str]:
    return shlex.split(re.sub(r"[;]", " ; ", line))
