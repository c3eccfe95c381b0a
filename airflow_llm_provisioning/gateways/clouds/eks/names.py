"""What only the user's account knows, by name, and how long each part of a preparation may take."""

from dataclasses import dataclass, field
from typing import Final

DOCS: Final = "docs/eks.md"


@dataclass(frozen=True, slots=True)
class EksDeadlines:
    """Seconds each step may take. Typical values (awslabs/ai-on-eks, preload-container-images.md, 2024): instance and
    SSM 195 s, pull of ray-ml 338 s, stop 49 s, snapshot of 150 GiB 371 s.
    """

    short_s: float = 300.0
    build_s: float = 5400.0
    instance_s: float = 900.0
    ssm_s: float = 900.0
    command_s: float = 600.0
    pull_s: float = 3600.0
    stop_s: float = 900.0
    snapshot_s: float = 7200.0


@dataclass(frozen=True, slots=True)
class EksNames:
    """IAM roles and places in the account; none is made by this package.

    `codebuild_role_arn`: service role of the builds (docs/iam/eks-codebuild-role.json). `builder_instance_profile`:
    instance profile of the snapshot's builder (docs/iam/eks-builder-role.json). `source_bucket`: None for one of our
    own. `subnet_id`: None for the default VPC's; the builder must reach ECR and SSM from it. `builder_public_ip`: None
    for a public address where the subnet has no other route.
    """

    codebuild_role_arn: str | None = None
    builder_instance_profile: str | None = None
    source_bucket: str | None = None
    subnet_id: str | None = None
    security_group_ids: tuple[str, ...] = ()
    builder_public_ip: bool | None = None
    build_compute_type: str = "BUILD_GENERAL1_LARGE"
    build_image: str = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
    builder_instance_type: str = "m5.large"
    deadlines: EksDeadlines = field(default_factory=EksDeadlines)
