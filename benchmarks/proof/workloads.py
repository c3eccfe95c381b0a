"""The workloads of the proofs: the built-in ones, and user manifests with other packages."""

from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025, BuiltinProfile
from airflow_llm_provisioning.core.workload import Workload, builtin_workload

SERVED_2025: Final = builtin_workload("phi3-2025", "phi3-2025")
SERVED_CURRENT: Final = builtin_workload("phi3-current", "phi3-current")


def changed(profile: BuiltinProfile) -> Workload:
    """Return the workload of a changed profile: its manifest counts as a user's own."""
    return replace(builtin_workload(f"my-{profile.profile}", profile.profile, profile), profile=None)


def with_pip(**pinned: str | None) -> Workload:
    """Return the 2025 workload with other pins; None removes a package from the list."""
    named = {name.replace("_", "-"): version for name, version in pinned.items()}
    kept = []
    for requirement in PHI3_2025.runtime_pip:
        name = requirement.partition("==")[0].replace("_", "-")
        version = named.pop(name, requirement.partition("==")[2])
        kept += [f"{name}=={version}"] if version else []
    return changed(replace(PHI3_2025, runtime_pip=(*kept, *(f"{name}=={version}" for name, version in named.items()))))
