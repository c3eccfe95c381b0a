"""Which release of vLLM a workload installs at start, for treatments that need a later one."""

from collections.abc import Iterator

from airflow_llm_provisioning.core.manifests import runtime_pip
from airflow_llm_provisioning.core.workload import Workload, package_name
from airflow_llm_provisioning.exceptions import ManifestError


def installs_older(workload: Workload, since: tuple[int, int], name: str) -> Iterator[str]:
    """Yield why the vLLM that the manifest installs is too old for treatment `name`; the one of an image is not known.
    `since`: major and minor of the first release that will do.
    """
    try:
        named = [item for item in runtime_pip(workload.manifest) if package_name(item) == "vllm"]
    except ManifestError:
        return
    for requirement in named:
        parts = tuple(int(part) for part in requirement.partition("==")[2].strip().split(".")[:2] if part.isdigit())
        if parts and parts < since:
            needed = ".".join(map(str, since))
            yield f"{name} needs vLLM {needed} or later; workload {workload.name!r} installs {requirement}."
