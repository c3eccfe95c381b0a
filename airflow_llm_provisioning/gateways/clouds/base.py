"""What every cloud can be asked. One cloud is one folder beside this file; SDK types never leave it.

A cloud prepares (image, snapshot, streaming, node pools), verifies what was applied, and can list and delete everything
it ever made, by tags alone. Calls are synchronous and short; a trigger waits, and runs them in a thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from airflow_llm_provisioning.core.operation import Operation


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach a cluster's API server. `token` is a secret and short-lived: minted when needed, never stored.

    `server`: URL; `ca_pem`: None where the server is plain HTTP (a stand-in); `expires_at`: when to ask for a new one.
    """

    server: str
    ca_pem: str | None = None
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """Something that this package made and that exists in a cloud.

    `kind`: the cloud's own word (`instance`, `snapshot`, `repository`, ...). `tags`: under the keys of `core/names.py`,
    however the cloud spells them. `priced`: how the price book calls it and how much of it there is (`core.prices`:
    what, name, amount in the unit of its price, at most); None: it has no price of its own, or its size is not listed.
    """

    kind: str
    identity: str
    tags: Mapping[str, str]
    created_at: datetime | None = None
    priced: tuple[str, str, float] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation about a treatment, for the verdict and for readers who check it.

    `claim`: what it is about (`snapshot_mounted`, `image_streamed`, ...); `holds`: True, False, or None where the
    cloud could not say; `detail`: one sentence; `source`: the call or object it was read from.
    """

    claim: str
    holds: bool | None
    detail: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON, as it is kept in the trace."""
        return {"claim": self.claim, "holds": self.holds, "detail": self.detail, "source": self.source}


class Cloud(Protocol):
    """One cloud account and region, reached with credentials of an Airflow connection."""

    name: str
    """The name by which it is registered: `eks`, `gke`, `aks`, `generic`, or another package's."""
    place: str
    """What the ledger calls this account and region: `cloud:eks/us-west-2`."""

    def verbs(self) -> Sequence[str]:
        """Return the long operations this cloud knows; `start` refuses others with a ConfigurationError."""
        ...

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check the request, write the intent in the ledger, begin. Nothing is billed before the intent is written."""
        ...

    def poll(self, operation: Operation) -> Operation:
        """Look once and do the next step if it is due. Ends failed, with everything temporary deleted, never raises."""
        ...

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Return server, certificate and a fresh token of a cluster."""
        ...

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Say for each claim whether it holds.

        `facts`: `provider_ids`, `nodes`, `image`, `digest`, `snapshot_id`, ... of the trial.
        """
        ...

    def list_owned(self) -> list[Owned]:
        """Return everything that carries our managed-by tag, of every kind this cloud's verbs can create.

        In an order in which it can be deleted. Raises rather than return part.
        """
        ...

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; gone already is success; a thing without our tag is refused."""
        ...

    def close(self) -> None:
        """Close every connection to the cloud. The opener of the cloud calls this; twice is no error."""
        ...
