"""Where builds come from and go to: the bucket of the sources and the ECR repository of the images.

Both stay after a preparation, and are kept as long as the one who asks longest wants them. One that was there before
and does not carry our tag is used and left as it is: it is never tagged, listed or deleted.
"""

from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code, from_pairs, pairs
from airflow_llm_provisioning.gateways.clouds.eks.tags import AWS_TAGS, later_expiry, tags_of
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

_NOT_TAGGED: Final = "NoSuchTagSet"


class AwsLocations:
    """The repository and the bucket that an operation names in its progress."""

    def __init__(self, aws: Aws, entries: LedgerEntries) -> None:
        self._aws, self._entries = aws, entries

    def ensure_repository(self, operation: Operation, entry: str) -> None:
        """Create the repository, or keep the one that is there for longer. `entry`: its intent in the ledger."""
        name = operation.progress["repository"]
        try:
            self._aws.client("ecr").create_repository(
                repositoryName=name, tags=pairs(tags_of(operation)), imageTagMutability="MUTABLE"
            )
        except AWS_ERRORS as error:
            if error_code(error) != "RepositoryAlreadyExistsException":
                raise
            if not self.keep_repository(operation):
                self._entries.gone("repository", name=name)
                return
        self._entries.created(entry, name)

    def keep_repository(self, operation: Operation) -> bool:
        """Let the repository, if it is ours, live as long as this operation wants it; return whether it is ours."""
        ecr, name = self._aws.client("ecr"), operation.progress["repository"]
        arn = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryArn"]
        tags = from_pairs(ecr.list_tags_for_resource(resourceArn=arn).get("tags"))
        later = later_expiry(tags, operation) if AWS_TAGS.is_ours(tags) else {}
        if later:
            ecr.tag_resource(resourceArn=arn, tags=pairs(later))
        return AWS_TAGS.is_ours(tags)

    def image(self, operation: Operation) -> dict[str, Any]:
        """Return {digest, size_bytes} of the recipe's image in ECR, or nothing."""
        try:
            details = self._aws.client("ecr").describe_images(
                repositoryName=operation.progress["repository"], imageIds=[{"imageTag": operation.progress["tag"]}]
            )["imageDetails"]
        except AWS_ERRORS as error:
            if not absent(error):
                raise
            return {}
        if not details:
            return {}
        return {"digest": details[0]["imageDigest"], "size_bytes": details[0].get("imageSizeInBytes")}

    def ensure_bucket(self, operation: Operation, entry: str) -> None:
        """Create the bucket of the sources in the account's region, or keep the one that is there for longer."""
        s3, name = self._aws.client("s3"), operation.progress["bucket"]
        where = {} if self._aws.region == "us-east-1" else {"LocationConstraint": self._aws.region}
        try:
            s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))
        except AWS_ERRORS as error:
            if error_code(error) != "BucketAlreadyOwnedByYou":
                raise
        tags = self._bucket_tags(name)
        if tags and not AWS_TAGS.is_ours(tags):
            self._entries.gone("bucket", name=name)
            return
        if later_expiry(tags, operation):
            # Tags of a bucket are written all at once.
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs({**tags, **tags_of(operation)})})
        self._entries.created(entry, name)

    def put(self, operation: Operation, key: str, body: bytes) -> None:
        """Write an object into the bucket."""
        self._aws.client("s3").put_object(Bucket=operation.progress["bucket"], Key=key, Body=body)

    def remove(self, operation: Operation, key: str) -> None:
        """Delete an object of the bucket; gone already is success."""
        try:
            self._aws.client("s3").delete_object(Bucket=operation.progress["bucket"], Key=key)
        except AWS_ERRORS as error:
            if not absent(error):
                raise

    def _bucket_tags(self, name: str) -> dict[str, str]:
        try:
            return from_pairs(self._aws.client("s3").get_bucket_tagging(Bucket=name)["TagSet"])
        except AWS_ERRORS as error:
            if error_code(error) != _NOT_TAGGED:
                raise
            return {}
