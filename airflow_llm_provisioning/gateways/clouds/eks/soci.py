"""Does a node pull images in parallel? Read from the AMI that it booted and the user data that it was launched with.

Knows no AWS call. Sources: bottlerocket-os/bottlerocket release 1.44.0 (older versions ignore the settings),
bottlerocket.dev settings container-runtime and container-runtime-plugins (one layer is unpacked at a time unless more
are allowed, as containerd does it), names of AMIs as DescribeImages returns them
(`bottlerocket-aws-k8s-1.34-nvidia-x86_64-v1.53.0-0123abcd`).
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

_SINCE: Final = (1, 44)
_VERSION: Final = re.compile(r"-v(\d+)\.(\d+)\.\d+")
_MODE: Final = "parallel-pull-unpack"
_UNPACKS: Final = "max-concurrent-unpacks-per-image"


def parallel_pull(ami: str, user_data: str) -> tuple[bool | None, str]:
    """Return whether a node with this AMI's name and this user data pulls in parallel, None where that is not known,
    and a clause that says why.
    """
    if not ami.startswith("bottlerocket-"):
        return False, f"it booted {ami}, which reads no settings of Bottlerocket"
    version = _VERSION.search(ami)
    if version is not None and (int(version[1]), int(version[2])) < _SINCE:
        return False, f"it booted {ami}, and Bottlerocket knows the setting since 1.44"
    problem = _unset(user_data)
    if problem:
        return False, problem
    if version is None:
        return None, f"its settings ask for it, and {ami} does not say its version"
    return True, f"its settings ask for it, and it booted {ami}"


def _unset(user_data: str) -> str | None:
    """Return which setting is missing, or None."""
    try:
        settings = tomllib.loads(user_data).get("settings", {})
    except tomllib.TOMLDecodeError:
        return "its user data is no TOML"
    runtime, plugin = _table(settings, "container-runtime"), _table(settings, "container-runtime-plugins")
    soci = _table(plugin, "soci-snapshotter")
    if runtime.get("snapshotter") != "soci":
        return "its user data does not choose the snapshotter soci"
    if soci.get("pull-mode") != _MODE:
        return f"its user data does not set the pull mode {_MODE}"
    unpacks = _table(soci, _MODE).get(_UNPACKS, 1)
    if not isinstance(unpacks, int) or 0 <= unpacks <= 1:
        return f"its user data allows {unpacks} unpacked layer at a time"
    return None


def _table(tree: Any, key: str) -> Mapping[str, Any]:
    found = tree.get(key) if isinstance(tree, Mapping) else None
    return found if isinstance(found, Mapping) else {}
