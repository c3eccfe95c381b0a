"""What a serving image is built from, and the names of packages in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_llm_provisioning.core.dockerfile import dockerfile
from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What a serving image is built from. The tag follows from the content: the same recipe is never built twice.

    `pip`: requirement -> why pinned is the recipe author's business; all are pinned. `env`: baked into the image.
    `bytecode`: whether Python's installed packages are compiled in the image.
    """

    base: str
    base_digest: str | None = None
    pip: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    bytecode: bool = False

    @property
    def content(self) -> str:
        """Fingerprint of everything that decides what is in the image."""
        return fingerprint(self.as_dict())

    @property
    def base_reference(self) -> str:
        """The base as it is pulled: by digest where one is known."""
        return f"{self.base}@{self.base_digest}" if self.base_digest else self.base

    def tag(self) -> str:
        """Return the tag the built image carries."""
        return f"r-{self.content}"

    def dockerfile(self) -> str:
        """Return the Dockerfile: one RUN for the packages (one layer), environment last.

        Raises ConfigurationError for a part that could be read as another instruction or command.
        """
        return dockerfile(self.base_reference, self.pip, self.env, bytecode=self.bytecode)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "base": self.base,
            "base_digest": self.base_digest,
            "pip": list(self.pip),
            "env": dict(sorted(self.env.items())),
            # Absent where it is not asked for: the tags of images that were built before it existed stay.
            **({"bytecode": True} if self.bytecode else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageRecipe":
        """Read what `as_dict` wrote, or what a user wrote by hand."""
        unknown = set(data) - {"base", "base_digest", "pip", "env", "bytecode"}
        if unknown or not data.get("base"):
            raise ConfigurationError(
                "An image recipe needs `base` and may have `base_digest`, `pip`, `env` and `bytecode`; found "
                f"{sorted(data)}."
            )
        pip, env = data.get("pip") or (), data.get("env") or {}
        if not isinstance(pip, (list, tuple)) or not isinstance(env, Mapping):
            raise ConfigurationError(
                "An image recipe's `pip` is a list of texts, and `env` is a mapping of text to text."
            )
        bytecode = data.get("bytecode", False)
        if not isinstance(bytecode, bool):
            raise ConfigurationError("An image recipe's `bytecode` is true or false.")
        return cls(str(data["base"]), data.get("base_digest"), tuple(pip), dict(env), bytecode)


_PACKAGE = re.compile(r"^\s*([A-Za-z0-9._-]+)")


def package_name(requirement: str) -> str:
    """Return the normalised name of a pip requirement: `hf_transfer==0.1.9` -> `hf-transfer`."""
    match = _PACKAGE.match(requirement)
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else ""
