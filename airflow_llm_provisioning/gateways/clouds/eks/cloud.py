"""EKS's gateway: images by CodeBuild, snapshots by EC2 and SSM, access by a token presigned here.

Of boto3's types nothing leaves this package. This file puts the verbs together and answers the questions; it is
imported only where an Amazon connection is opened.
"""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, Session, absent, cloud_error
from airflow_llm_provisioning.gateways.clouds.eks.build import BuildImage
from airflow_llm_provisioning.gateways.clouds.eks.evidence import evidence
from airflow_llm_provisioning.gateways.clouds.eks.names import EksNames
from airflow_llm_provisioning.gateways.clouds.eks.owned import OwnedOnAws
from airflow_llm_provisioning.gateways.clouds.eks.snapshot import SnapshotImage
from airflow_llm_provisioning.gateways.clouds.operation_driver import OperationDriver
from airflow_llm_provisioning.gateways.store.ledger import Ledger, LedgerEntries

# aws-iam-authenticator accepts a token for 15 minutes, regardless of its URL's expiry; a minute is left for slow calls.
TOKEN_LIFETIME: Final = timedelta(minutes=14)
TOKEN_URL_EXPIRES_S: Final = 60


class EksCloud:
    """One AWS account and region. `credentials`: a boto3 session, or a function that makes a fresh one.

    `endpoint_url`: address of every AWS service, for stand-ins. `clock`: aware UTC, in which deadlines count.
    """

    name = "eks"

    def __init__(
        self,
        credentials: Session | Callable[[], Session],
        *,
        region: str,
        endpoint_url: str | None = None,
        ledger: Ledger,
        clock: Callable[[], datetime],
        names: EksNames | None = None,
    ) -> None:
        self._aws = Aws(credentials, region=region, endpoint_url=endpoint_url)
        self.place = self._aws.place
        entries, names = LedgerEntries(ledger, self.place), names or EksNames()
        self._driver = OperationDriver(
            "EKS",
            {
                verb.name: verb
                for verb in (BuildImage(self._aws, entries, names), SnapshotImage(self._aws, entries, names))
            },
            clock,
            translate=self._aws.translated,
        )
        self._owned = OwnedOnAws(self._aws, entries)

    def verbs(self) -> Sequence[str]:
        """Return the long operations of EKS."""
        return tuple(self._driver.verbs)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        """Check the request and the account, write the intent, begin; nothing billable runs before the first poll."""
        return self._driver.start(verb, request)

    def poll(self, operation: Operation) -> Operation:
        """Look once and do the next step if it is due."""
        return self._driver.poll(operation)

    def close(self) -> None:
        """Close every connection to AWS."""
        self._aws.close()

    def cluster_access(self, cluster: str) -> ClusterAccess:
        """Return server, certificate and a token presigned with our credentials, for the next 14 minutes."""
        try:
            described = self._aws.client("eks").describe_cluster(name=cluster)["cluster"]
            token = self._token(cluster)
        except AWS_ERRORS as error:
            if absent(error):
                raise CloudError(f"Cannot reach cluster {cluster!r}: there is none in {self._aws.region}.") from error
            raise cloud_error(f"Cannot reach cluster {cluster!r}", error) from error
        server = str(described["endpoint"])
        certificate = (described.get("certificateAuthority") or {}).get("data")
        ca_pem = None
        if server.startswith("https://") and certificate:
            ca_pem = base64.b64decode(certificate).decode()
        # A token expires in real time, whichever clock the experiment uses.
        expires_at = datetime.fromtimestamp(time.time(), UTC) + TOKEN_LIFETIME
        return ClusterAccess(server, ca_pem, token, expires_at)

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        """Say for each claim whether it holds: `snapshot_mounted`, `volume_initialization_rate`, `bottlerocket_node`.

        `facts`: {provider_ids: [...], nodes: [{name, labels}], snapshot_id, volume_initialization_rate_mib_s}.
        """
        return evidence(self._aws, claims, facts)

    def list_owned(self) -> list[Owned]:
        """Return everything that carries our tag: builds, projects, instances, snapshots, volumes, images, ..."""
        try:
            return self._owned.everything()
        except AWS_ERRORS as error:
            raise cloud_error(f"Cannot list what is ours in {self._aws.region}", error) from error

    def exists(self, kind: str, identity: str) -> bool | None:
        """Return whether a thing exists, as the reaper asks of what no list has (`OwnedOnAws.exists`)."""
        try:
            return self._owned.exists(kind, identity)
        except AWS_ERRORS as error:
            raise cloud_error(f"Cannot look for {kind} {identity}", error) from error

    def delete_owned(self, owned: Owned) -> None:
        """Delete one thing of ours; gone already is success; a thing without our tag is refused."""
        try:
            self._owned.delete(owned)
        except AWS_ERRORS as error:
            raise cloud_error(f"Cannot delete {owned.kind} {owned.identity}", error) from error

    def _token(self, cluster: str) -> str:
        """Return a k8s-aws-v1 token: a presigned GetCallerIdentity whose signature covers the cluster's name.

        Form: kubernetes-sigs/aws-iam-authenticator, README ("API Authorization from Outside a Cluster").
        """
        from botocore.signers import RequestSigner

        session, region = self._aws.session(), self._aws.region
        sts = self._aws.client("sts")
        signer = RequestSigner(
            sts.meta.service_model.service_id, region, "sts", "v4", session.get_credentials(), session.events
        )
        request = {
            "method": "GET",
            "url": f"{sts.meta.endpoint_url.rstrip('/')}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster},
            "context": {},
        }
        url = signer.generate_presigned_url(
            request, region_name=region, expires_in=TOKEN_URL_EXPIRES_S, operation_name=""
        )
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
