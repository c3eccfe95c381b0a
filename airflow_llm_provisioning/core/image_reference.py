"""A container image's reference, taken apart. The only parser of references; it looks nothing up.

The rules are Docker's (distribution/reference): the first part is a host if it holds a dot or a colon or is
`localhost`; without a host the image is on Docker Hub, where a name without a slash is below `library/`.
"""

import re
from dataclasses import dataclass
from typing import Final

from airflow_llm_provisioning.exceptions import ConfigurationError

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_API: Final = "registry-1.docker.io"
"""The host that answers for Docker Hub; the host in references is another one."""
_DOCKER_HUB_HOSTS: Final = (DOCKER_HUB, "index.docker.io")
# distribution/reference, reference.go, with capital letters: what a registry accepts is for it to say.
_PART: Final = r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z0-9]+(?:[.+_-][A-Za-z0-9]+)*:[A-Za-z0-9_.-]+)?"
)
_LONGEST: Final = 512


def checked_reference(text: object) -> str:
    """Return an image's reference. Raises ConfigurationError for what is none: a path with `..`, a space, a line break.

    A reference becomes part of URLs, Dockerfiles and command lines.
    """
    if not isinstance(text, str) or len(text) > _LONGEST or not _REFERENCE.fullmatch(text):
        raise ConfigurationError(
            f"{str(text)[:80]!r} is no image reference: it must be host/repository:tag or host/repository@digest, "
            "without spaces and `..`."
        )
    return text


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`host/repository:tag@digest`. `text`: as it was written; `host`: None where none is written."""

    text: str
    host: str | None
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Take a reference apart."""
        name, _, digest = text.partition("@")
        head, slash, rest = name.partition("/")
        has_host = bool(slash) and ("." in head or ":" in head or head == "localhost")
        path = rest if has_host else name
        repository, _, tag = path.partition(":")
        return cls(text, head if has_host else None, repository, tag or None, digest or None)

    @property
    def on_docker_hub(self) -> bool:
        """Whether the image is on Docker Hub."""
        return self.host is None or self.host in _DOCKER_HUB_HOSTS

    @property
    def full_repository(self) -> str:
        """The repository's whole name: Docker Hub's `library/` is spelled out."""
        return f"library/{self.repository}" if self.on_docker_hub and "/" not in self.repository else self.repository

    def full(self) -> str:
        """Return the reference as containerd stores it: Docker Hub's host spelled out, tag and digest as written."""
        host = DOCKER_HUB if self.on_docker_hub else self.host
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{host}/{self.full_repository}{tag}{digest}"

    def at_registry(self) -> tuple[str, str, str]:
        """Return (host that answers, repository, tag or digest) for the registry protocol; the digest goes first."""
        host = DOCKER_HUB_API if self.on_docker_hub else str(self.host)
        return host, self.full_repository, self.digest or self.tag or "latest"
