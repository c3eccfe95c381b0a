"""The serving image with its packages baked in, built in the cloud: once for each recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.operators.cloud_step import CloudStep
from airflow_llm_provisioning.operators.confidential import ConfidentialFields, given


class BuildServingImage(ConfidentialFields, CloudStep):
    """Build the serving image in the cloud, or find the one that the same recipe built before.

    Returns {image, digest, size_bytes, reused, seconds, price_usd, price_basis, log_url, phases}; `image` is a
    reference by tag.

    :param recipe: {base, base_digest, pip, env}; the tag follows from its content. Airflow stores it without secrets.
    :param repository: name of the repository in the cloud's registry.
    :param keep_days: how long the image may be kept before clean-up takes it.
    """

    verb = "build_image"
    template_fields: Sequence[str] = (*CloudStep.template_fields, "recipe", "repository")
    confidential_fields = ("recipe",)
    template_fields_renderers = CloudStep.template_fields_renderers | {"recipe": "json"}

    def __init__(
        self, *, recipe: Mapping[str, Any], repository: str = "ray-serving", keep_days: int = KEEP_DAYS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.recipe = self.confidential(recipe)
        self.repository = repository
        self.keep_days = keep_days

    def request(self) -> dict[str, Any]:
        """Return {recipe, repository, keep_days}."""
        from airflow_llm_provisioning.core.workload import ImageRecipe

        recipe = ImageRecipe.from_dict(given(self.recipe))
        # What cannot become a Dockerfile is refused before a cloud is asked.
        recipe.dockerfile()
        return {"recipe": recipe.as_dict(), "repository": self.repository, "keep_days": self.keep_days}
