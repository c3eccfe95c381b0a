"""Fast weight download: many connections for one file (hf_transfer) or the Xet protocol at full speed.

The origin's hf_transfer is a silent no-op on huggingface_hub 1.0 and later (removed in commit 52c718a5), and gives
way to hf_xet where that is installed (0.30 to 0.36; a requirement of the hub's client since 0.32), unless Xet is
disabled. hf_xet may be missing all the same: the client then warns and downloads by HTTP. A mirror of the hub
(HF_ENDPOINT) may serve plain files only, which no warning tells.
"""

import json
import re
from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, adds, becomes, seconds_for
from airflow_llm_provisioning.core.engine_caches import weights_found, weights_uncertain
from airflow_llm_provisioning.core.fields import text
from airflow_llm_provisioning.core.manifests import with_added_pip, with_env
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.effect_ranges import installed_at_start
from airflow_llm_provisioning.core.verdicts import (
    Value,
    Verdict,
    recipe_packages,
    runtime_variables,
    switch,
    switched_on,
)
from airflow_llm_provisioning.core.weight_sources import not_from_the_hub
from airflow_llm_provisioning.core.workload import Workload, package_name
from airflow_llm_provisioning.exceptions import ManifestError

# What the hub's client raises where hf_transfer is switched on and not installed (huggingface_hub 0.25,
# file_download.http_get); Serve shows it in the deployment's message.
_REFUSAL: Final = "'hf_transfer' package is not available"
# What it warns of where the switch is set and it knows no hf_transfer any more (huggingface_hub 2.4, constants.py).
_DEPRECATED: Final = "'hf_transfer' is not used anymore"
# What it warns of where a file is in Xet storage and hf_xet is not there (huggingface_hub 0.30 to 2.4,
# file_download.py).
_WITHOUT_XET: Final = "Falling back to regular HTTP download"
_NO_XET: Final = "HF_HUB_DISABLE_XET"
_ENDPOINT: Final = "HF_ENDPOINT"
_HUB: Final = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/?", flags=re.IGNORECASE)

# 29 GB from the hub to a disk in 113 s is 257 MB/s and waited for neither end (Azure/AKS blog, 2026-07-13); 15 GiB in
# 18 s is 895 MB/s (awslabs/data-on-eks). The slow end is a disk of 100 MB/s, the least that the clouds attach.
_FAST_BYTES_S: Final = Between(
    100e6, 895e6, "hub to node over many connections: 895 MB/s (data-on-eks), or a disk of 100 MB/s (Azure P10)"
)

Packages = dict[str, str]


class FastDownload(BaseTreatment):
    """Install the fast downloader and switch it on."""

    name = "fast_download"
    order = 10

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the switch or the package cannot be added to the manifest."""
        try:
            self.change(DeploymentPlan.of(workload), workload)
        except ManifestError as error:
            return (str(error),)
        return ()

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Add the package to what is installed, and the switch to every Ray container."""
        download = workload.fast_download
        manifest = with_env(with_added_pip(plan.manifest, download.pip), download.env)
        return replace(plan, manifest=manifest, env={**plan.env, **download.env})

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that the download takes bytes over many connections, and what installing its package at start adds."""
        if not facts.weight_bytes:
            return None
        fast = seconds_for(facts.weight_bytes, _FAST_BYTES_S)
        # A disk or link that the plain download fills leaves nothing to gain: then it takes what it took.
        download = becomes("weight_download", fast, at_most_before=True)
        assumptions = ("many connections are never slower than the download that was measured",)
        if "bake_packages" in facts.treatments:
            return Effect((download,), assumptions)
        return Effect((download, adds("runtime_env", installed_at_start(self.name, facts))), assumptions)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the downloader that was switched on is installed, honoured by the hub library beside it, and had
        anything to download.
        """
        vain = not_from_the_hub(view) or weights_found(view)
        if vain:
            return Verdict(self.name, "no", (vain,))
        if doubt := weights_uncertain(view):
            return Verdict(self.name, "unknown", (doubt,))
        packages = _packages(view)
        xet, transfer = switch(view, "HF_XET_HIGH_PERFORMANCE"), switch(view, "HF_HUB_ENABLE_HF_TRANSFER")
        by_xet = _xet(view, packages, xet) if xet.value == "yes" else None
        if by_xet is not None and (by_xet.value == "yes" or transfer.value != "yes"):
            return by_xet
        if transfer.value != "yes" and not _by_itself(view, packages):
            value: Value = "unknown" if "unknown" in (xet.value, transfer.value) else "no"
            return Verdict(self.name, value, (*transfer.evidence, *xet.evidence))
        return _transfer(view, packages, transfer)

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that a trial which does not declare it had it all the same, or None."""
        for name in ("HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER"):
            if (on := switch(view, name)).value == "yes":
                return " ".join(on.evidence)
        packages = _packages(view)
        hub = _version(packages.get("huggingface-hub"))
        if _by_itself(view, packages) and hub is not None and hub < (0, 32):
            return "hf_transfer is installed, and vLLM switches it on by itself."
        return None


def _transfer(view: TraceView, packages: Packages, on: Verdict) -> Verdict:
    # As JSON: Python's own form escapes the quotes of a text that holds both kinds, as every traceback does.
    if any(_REFUSAL in json.dumps(answer.body) for answer in view.polls()):
        return _no(on, f"The hub's client refused: {_REFUSAL}.")
    warned = next((log for log in view.logs if _DEPRECATED in log.text), None)
    if warned is not None:
        return _no(on, f"The hub's client says in {warned.filename}: {_DEPRECATED}.")
    if "hf-transfer" not in packages:
        return _unknown(on, "hf_transfer is in no list of packages that was seen.")
    hub = _version(packages.get("huggingface-hub"))
    if hub is None:
        return _unknown(on, "Which huggingface_hub ran is not known, and 1.0 and later ignore hf_transfer.")
    told = f"huggingface_hub {'.'.join(map(str, hub))} is installed"
    if hub >= (1, 0):
        return _no(on, f"{told}: it ignores hf_transfer since 1.0.")
    disabled = switched_on(view, _NO_XET)
    xet_disabled = bool(disabled) and all(item.value == "yes" for item in disabled)
    if not xet_disabled and (hub >= (0, 32) or (hub >= (0, 30) and "hf-xet" in packages)):
        return _no(on, f"{told} with hf_xet, which takes precedence over hf_transfer.")
    return Verdict("fast_download", "yes", (*on.evidence, f"{told} and honours hf_transfer."))


def _xet(view: TraceView, packages: Packages, on: Verdict) -> Verdict:
    disabled = next((item for item in switched_on(view, _NO_XET) if item.value == "yes"), None)
    if disabled is not None:
        return _no(on, *disabled.evidence, "The hub's client uses no hf_xet then.")
    fell_back = next((log for log in view.logs if _WITHOUT_XET in log.text), None)
    if fell_back is not None:
        return _no(on, f"The hub's client says in {fell_back.filename} that hf_xet is not installed: {_WITHOUT_XET}.")
    hub = _version(packages.get("huggingface-hub"))
    if hub is not None and hub < (0, 30):
        return _no(on, "This huggingface_hub does not know hf_xet yet.")
    if mirror := _mirror(view):
        return _unknown(on, f"The weights came from {mirror}, and whether that serves Xet is not known.")
    if hub is not None and hub >= (0, 32):
        told = f"huggingface_hub {'.'.join(map(str, hub))} is installed, which brings hf_xet."
        return Verdict("fast_download", "yes", (*on.evidence, told))
    if "hf-xet" in packages:
        return Verdict("fast_download", "yes", (*on.evidence, f"{packages['hf-xet']} is installed."))
    return _unknown(on, "hf_xet is in no list of packages that was seen.")


def _mirror(view: TraceView) -> str | None:
    """Return the address of another hub that an engine's pod downloads from, None for huggingface.co."""
    over = runtime_variables(view)
    for pod in view.engine_pods:
        told = text(over.get(_ENDPOINT, view.env_of(pod).get(_ENDPOINT)))
        if told and not _HUB.fullmatch(told):
            return told
    return None


def _by_itself(view: TraceView, packages: Packages) -> bool:
    """Whether vLLM switches hf_transfer on: it is installed, and the variable is not set on the worker (vllm 0.5.4,
    weight_utils.enable_hf_transfer).
    """
    told = {name for pod in view.engine_pods for name in view.env_of(pod)} | runtime_variables(view).keys()
    return {"vllm", "hf-transfer"} <= packages.keys() and "HF_HUB_ENABLE_HF_TRANSFER" not in told


def _no(on: Verdict, *why: str) -> Verdict:
    return Verdict("fast_download", "no", (*on.evidence, *why))


def _unknown(on: Verdict, *why: str) -> Verdict:
    return Verdict("fast_download", "unknown", (*on.evidence, *why))


def _packages(view: TraceView) -> Packages:
    """Return normalised name -> requirement of what the recipe bakes and Ray installs at start; the later wins."""
    return (recipe_packages(view) or {}) | {package_name(item): item for item in view.runtime_pip}


def _version(requirement: str | None) -> tuple[int, ...] | None:
    _, found, version = (requirement or "").partition("==")
    parts = version.strip().split(".")[:2]
    return tuple(int(part) for part in parts) if found and all(part.isdigit() for part in parts) else None
