"""Fast weight download: many connections for one file (hf_transfer) or the Xet protocol at full speed.

The origin's hf_transfer is a silent no-op on huggingface_hub 1.0 and later (removed in commit 52c718a5), and gives
way to
hf_xet where that is installed (0.32 to 0.36), unless Xet is disabled.
"""

from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.verdicts import Verdict, recipe_packages, switch
from airflow_llm_provisioning.core.workload import Workload, package_name

_ANYWHERE: frozenset[str] = frozenset()
# What the hub's client raises where hf_transfer is switched on and not installed (huggingface_hub 0.25,
# file_download.http_get); Serve shows it in the deployment's message.
_REFUSAL: Final = "'hf_transfer' package is not available"


class FastDownload:
    """Install the fast downloader and switch it on."""

    name = "fast_download"
    clouds = _ANYWHERE
    preparations: tuple[str, ...] = ()
    delivery: Delivery | None = None
    claims: tuple[str, ...] = ()

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Add the package to what is installed, and the switch to every Ray container."""
        return replace(
            plan,
            pip=(*plan.pip, *workload.fast_download_pip),
            env={**plan.env, **workload.fast_download_env},
        )

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the downloader that was switched on is installed and honoured by the hub library beside it."""
        packages = _packages(view)
        xet = switch(view, "HF_XET_HIGH_PERFORMANCE")
        if xet.value == "yes":
            return _xet(packages, xet)
        transfer = switch(view, "HF_HUB_ENABLE_HF_TRANSFER")
        if transfer.value != "yes":
            return Verdict(self.name, transfer.value, (*transfer.evidence, *xet.evidence))
        if any(_REFUSAL in str(answer.body) for answer in view.polls()):
            return Verdict(self.name, "no", (*transfer.evidence, f"The hub's client refused: {_REFUSAL}."))
        return _transfer(packages, transfer, xet_disabled=switch(view, "HF_HUB_DISABLE_XET").value == "yes")


def _transfer(packages: dict[str, str], on: Verdict, *, xet_disabled: bool) -> Verdict:
    if "hf-transfer" not in packages:
        return Verdict(
            "fast_download", "unknown", (*on.evidence, "hf_transfer is in no list of packages that was seen.")
        )
    hub = _version(packages.get("huggingface-hub"))
    if hub is None:
        reason = "Which huggingface_hub ran is not known, and 1.0 and later ignore hf_transfer."
        return Verdict("fast_download", "unknown", (*on.evidence, reason))
    told = f"huggingface_hub {'.'.join(map(str, hub))} is installed"
    if hub >= (1, 0):
        return Verdict("fast_download", "no", (*on.evidence, f"{told}: it ignores hf_transfer since 1.0."))
    if hub >= (0, 32) and "hf-xet" in packages and not xet_disabled:
        return Verdict(
            "fast_download", "no", (*on.evidence, f"{told} with hf_xet, which takes precedence over hf_transfer.")
        )
    return Verdict("fast_download", "yes", (*on.evidence, f"{told} and honours hf_transfer."))


def _xet(packages: dict[str, str], on: Verdict) -> Verdict:
    hub = _version(packages.get("huggingface-hub"))
    if "hf-xet" in packages and (hub is None or hub >= (0, 32)):
        return Verdict("fast_download", "yes", (*on.evidence, f"{packages['hf-xet']} is installed."))
    if hub is not None and hub < (0, 30):
        return Verdict("fast_download", "no", (*on.evidence, "This huggingface_hub does not know hf_xet yet."))
    return Verdict("fast_download", "unknown", (*on.evidence, "hf_xet is in no list of packages that was seen."))


def _packages(view: TraceView) -> dict[str, str]:
    """Return normalised name -> requirement of what the recipe bakes and Ray installs at start; the later wins."""
    return (recipe_packages(view) or {}) | {package_name(item): item for item in view.runtime_pip}


def _version(requirement: str | None) -> tuple[int, ...] | None:
    _, found, version = (requirement or "").partition("==")
    parts = version.strip().split(".")[:2]
    return tuple(int(part) for part in parts) if found and all(part.isdigit() for part in parts) else None
