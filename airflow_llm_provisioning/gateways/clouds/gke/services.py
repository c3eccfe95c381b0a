"""Which of Google's APIs are on in the project, and turning on the one that streaming needs."""

from collections.abc import Mapping, Sequence
from typing import Final

from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.gke.clients import READ
from airflow_llm_provisioning.gateways.clouds.gke.errors import google_errors
from airflow_llm_provisioning.gateways.clouds.gke.steps import Change, Project, State
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

STREAMING_API: Final = "containerfilesystem.googleapis.com"


def api_problems(project: Project, services: Sequence[str]) -> list[str]:
    """Return a sentence for every API that is off; nothing where the account may not look."""
    names = [f"projects/{project.name}/services/{service}" for service in services]
    try:
        with google_errors(f"list the enabled APIs of project {project.name}"):
            answer = project.clients.services.batch_get_services(
                request={"parent": f"projects/{project.name}", "names": names}, **READ
            )
    except TransientError:
        raise
    except CloudError:
        return []
    off = [found.name.rpartition("/")[2] for found in answer.services if found.state.name == "DISABLED"]
    return [f"API {service} is off: `gcloud services enable {service} --project {project.name}`" for service in off]


def streaming_api_state(project: Project) -> State:
    """Say whether the Container File System API is on."""
    name = f"projects/{project.name}/services/{STREAMING_API}"
    with google_errors(f"read the state of API {STREAMING_API} in project {project.name}"):
        found = project.clients.services.get_service(request={"name": name}, **READ)
    return "done" if found.state.name == "ENABLED" else "absent"


def streaming_api(project: Project) -> Change:
    """Return the change that turns the Container File System API on. It is never turned off again by us."""

    def begin() -> Mapping[str, str] | None:
        name = f"projects/{project.name}/services/{STREAMING_API}"
        # Where it is on already, Google answers with an operation that is done and may have no name.
        begun = project.clients.services_call(f"{name}:enable").get("name")
        return {"kind": "services", "name": str(begun)} if begun else None

    return Change(
        "api", f"enable API {STREAMING_API} in project {project.name}", lambda: streaming_api_state(project), begin
    )
