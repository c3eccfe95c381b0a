"""What CodeBuild is given to build an image from: a Dockerfile and a buildspec, as a zip. Pure."""

import io
import zipfile
from typing import Final

# `docker push` only after a build that went well: post_build runs after a failed one too.
BUILDSPEC: Final = """\
version: 0.2
phases:
  pre_build:
    commands:
      - aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY"
  build:
    commands:
      - docker build --tag "$IMAGE" .
  post_build:
    commands:
      - if [ "$CODEBUILD_BUILD_SUCCEEDING" = "1" ]; then docker push "$IMAGE"; fi
"""
# Zip entries carry a date; a fixed one keeps the same source the same bytes.
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)


def build_source(dockerfile: str, buildspec: str) -> bytes:
    """Return the zip: the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("Dockerfile", dockerfile), ("buildspec.yml", buildspec)):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), text)
    return buffer.getvalue()
