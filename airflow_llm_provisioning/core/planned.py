"""What the head of a trace says was planned, for verdicts: read from `Trial.header`, and from the flat form of 0.1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text


@dataclass(frozen=True, slots=True)
class PlannedFacts:
    """What verdicts need to know of the plan. "" or None: the header does not say it.

    `treatments`: None where the header lists none at all. `recipe_pip`: packages of the image's recipe, None without a
    recipe. `recipe_bytecode`: whether that recipe compiles Python's packages. `base`: the recipe's base image, with its
    digest where one is pinned. `prepared_image`, `prepared_digest`: what the preparation made. `disk_image`,
    `disk_digest`: of the nodes' secondary boot disk (GKE), and of the image that it holds. `prepared_steps`:
    prepared objects as they were when the trial was opened, by the preparation's verb (`core.prepared_objects.Found`,
    as JSON).
    """

    known: bool
    treatments: tuple[str, ...] | None
    image: str
    images: tuple[str, ...]
    base: str
    recipe_pip: tuple[str, ...] | None
    recipe_bytecode: bool
    prepared_image: str
    prepared_digest: str
    model_revision: str
    weight_bytes: float | None
    prepared_steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    disk_image: str = ""
    disk_digest: str = ""

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "PlannedFacts":
        """Read a header's `trial`. What is missing or of another type is not known."""
        nested = "arm" in header
        arm = mapping(header.get("arm")) if nested else header
        served = mapping(header.get("served")) if nested else header
        recipe = mapping(served.get("recipe") or dig(header, "image", "recipe"))
        prepared = mapping(dig(header, "opened", "prepared") if nested else header.get("prepared"))
        base, pinned = text(recipe.get("base")), text(recipe.get("base_digest"))
        listed = arm.get("treatments")
        return cls(
            known=bool(header),
            treatments=None if listed is None else tuple(item for item in items(listed) if isinstance(item, str)),
            image=text(served.get("image")),
            images=tuple(image for image in map(text, items(served.get("images")) or [served.get("image")]) if image),
            base=f"{base}@{pinned}" if base and pinned else base,
            recipe_pip=_pip(recipe),
            recipe_bytecode=recipe.get("bytecode") is True,
            prepared_image=text(prepared.get("image")),
            prepared_digest=text(prepared.get("digest")),
            model_revision=text(dig(served, "model", "revision")),
            weight_bytes=number(dig(served, "model", "weight_bytes")),
            disk_image=text(prepared.get("disk_image")),
            disk_digest=text(prepared.get("disk_digest")),
            prepared_steps={key: mapping(value) for key, value in mapping(prepared.get("steps")).items()},
        )


def _pip(recipe: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "pip" not in recipe:
        return None
    return tuple(item for item in items(recipe["pip"]) if isinstance(item, str))
