"""Where owners keep copies of models: buckets of the simulated clouds, and OCI artifacts in registries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.workload import Workload
from llm_provisioning_simulator.hub_models import HubModel


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket. `address`: scheme and name (`s3://weights`); `models`: folder below it -> the files there; `account`:
    Azure's storage account that a container is in.
    """

    address: str
    region: str
    models: Mapping[str, HubModel] = field(default_factory=dict)
    account: str = ""


def artifact_of(
    target: Target, models: Mapping[str, HubModel], workloads: Iterable[Workload]
) -> tuple[str, HubModel] | None:
    """Return the reference that a target names (`options.treatments.image_volume`) and the model whose files its owner
    has put there, or None.
    """
    reference = str(target.told_of("image_volume").get("reference") or "")
    served = [item.model.model_id for item in workloads if item.model]
    model = next((models[name] for name in served if name in models), None)
    return (reference, model) if reference and model else None


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in a bucket."""

    bucket: Bucket
    model: HubModel


def fill_bucket(
    buckets: dict[str, Bucket], models: Mapping[str, HubModel], target: Target, workloads: Iterable[Workload]
) -> None:
    """Put the bucket that a target names (`options.treatments.weights_stream`) where its owner has put it: in its
    region, with the hub's files of the model that is served.
    """
    told = target.told_of("weights_stream")
    source = str(told.get("source") or "")
    served = [item.model.model_id for item in workloads if item.model]
    model = next((models[name] for name in served if name in models), None)
    if not source or model is None:
        return
    scheme, _, rest = source.partition("://")
    name, _, folder = rest.strip("/").partition("/")
    address = f"{scheme.lower()}://{name}"
    account = str(told.get("account") or "")
    buckets[address] = Bucket(address, str(told.get("region") or ""), {folder: model}, account)


def find_stored(buckets: Mapping[str, Bucket], source: str) -> Stored | None:
    """Return what lies at an address, or None where the bucket or the folder is not there."""
    scheme, _, rest = source.partition("://")
    name, _, folder = rest.strip("/").partition("/")
    bucket = buckets.get(f"{scheme.lower()}://{name}")
    model = bucket.models.get(folder) if bucket else None
    return Stored(bucket, model) if bucket and model else None
