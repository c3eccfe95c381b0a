"""What is served: a RayService, built in or anybody's, with the model it serves and the request that proves it.

A built-in workload is a manifest like a user's: treatments change both by the same code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from airflow_llm_provisioning.core.builtin_profiles import PROFILES, BuiltinProfile
from airflow_llm_provisioning.core.manifests import builtin_manifest, content, images, setup_of, with_image, with_setup
from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.core.names import fingerprint, nearest
from airflow_llm_provisioning.core.recipe import ImageRecipe, package_name
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError

__all__ = [
    "DirectLoading",
    "FastDownload",
    "ImageRecipe",
    "Model",
    "ScalingSetup",
    "WeightStreaming",
    "Workload",
    "builtin_workload",
    "completion_request",
    "package_name",
]


DEFAULT_PROFILE: Final = "phi3-2025"


@dataclass(frozen=True, slots=True)
class FastDownload:
    """How weights are downloaded fast in this workload's image: what is installed at start, and the switch.

    The default is hf_xet's, which every huggingface_hub since 0.32 brings and reads in Rust; it needs no package.
    """

    pip: tuple[str, ...] = ()
    env: Mapping[str, str] = field(
        default_factory=lambda: {"HF_XET_HIGH_PERFORMANCE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    )


@dataclass(frozen=True, slots=True)
class DirectLoading:
    """Which loader `direct_loader` uses in this workload's image: `format` is vLLM's load_format; what is installed at
    start (nothing where the image brings the package), and the loader's variables.
    """

    format: str = "instanttensor"
    pip: tuple[str, ...] = ("instanttensor==0.2.2",)
    env: Mapping[str, str] = field(default_factory=lambda: {"INSTANTTENSOR_BACKEND": "BUFFERED"})


@dataclass(frozen=True, slots=True)
class WeightStreaming:
    """How `weights_stream` streams in this workload's image. `pip`: what is installed at start; nothing where the image
    brings Run:ai's streamer, as rayproject/ray-llm and vllm/vllm-openai do. `concurrency`: reads at once.
    """

    pip: tuple[str, ...] = ()
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class Workload:
    """What is served, and nothing about how it is accelerated.

    `manifest`: the RayService of the baseline, in its own scaling set-up. `model`: None where the experiment does not
    say which is served. `completion`: {path, body, expect_model?}, the request whose valid answer is waited for after
    the ready endpoint; None: the ready endpoint ends the trial. `setups`: the set-ups it is tried in; the manifest is
    changed for the other one. `profile`: the built-in profile it comes from, or None for a user's manifest. `others`:
    what else stood in the file of the manifest (`ConfigMap/llm-config`) and is left to the user.
    """

    name: str
    manifest: Mapping[str, Any]
    model: Model | None = None
    completion: Mapping[str, Any] | None = None
    setups: tuple[ScalingSetup, ...] = ()
    fast_download: FastDownload = field(default_factory=FastDownload)
    direct_loader: DirectLoading = field(default_factory=DirectLoading)
    weights_stream: WeightStreaming = field(default_factory=WeightStreaming)
    profile: str | None = None
    others: tuple[str, ...] = ()
    base_digest: str | None = None

    @property
    def own_setup(self) -> ScalingSetup:
        """The set-up that the manifest itself describes."""
        return setup_of(self.manifest)

    @property
    def offered_setups(self) -> tuple[ScalingSetup, ...]:
        """The set-ups it can be tried in: those that were named, else the manifest's own."""
        return self.setups or (self.own_setup,)

    @property
    def images(self) -> tuple[str, ...]:
        """The images of its Ray containers, each once."""
        return images(self.manifest)

    @property
    def recipe(self) -> ImageRecipe:
        """Its image as it is: nothing added."""
        base, _, digest = self.images[0].partition("@")
        return ImageRecipe(base, self.base_digest or digest or None)

    @property
    def content(self) -> str:
        """Fingerprint of what is served before any treatment: manifest, model, fast download, not the name."""
        return fingerprint(
            {
                "manifest": content(with_setup(self.manifest, ScalingSetup.STATIC)),
                "model": self.model.model_id if self.model else None,
                "revision": self.model.revision if self.model else None,
            }
        )

    @property
    def left_to_the_user(self) -> str | None:
        """A sentence that names what else stands in the manifest's file, or None where nothing does."""
        if not self.others:
            return None
        told = f"Workload {self.name!r}: the file of its manifest also holds {', '.join(self.others)}"
        return f"{told}. Only the RayService is applied: create the others yourself."

    def manifest_for(self, setup: ScalingSetup) -> dict[str, Any]:
        """Return the baseline RayService in a set-up."""
        return with_setup(self.manifest, setup)

    def with_image(self, image: str) -> "Workload":
        """Return the workload with another image in every Ray container: the user's own, planned like any other."""
        changed = with_image(self.manifest, dict.fromkeys(self.images, image))
        return replace(self, manifest=changed, base_digest=None)

    def with_model(self, model: Model) -> "Workload":
        """Return the workload serving another (or a freshly resolved) model, wherever a built-in profile names it.

        A user's manifest says itself which model it serves: another id raises a ConfigurationError.
        """
        if self.profile is None:
            if self.model is not None and model.model_id != self.model.model_id:
                raise ConfigurationError(
                    f"Workload {self.name!r} is a manifest of its own and serves {self.model.model_id}: another model "
                    f"({model.model_id}) needs another manifest."
                )
            return replace(self, model=model)
        own = self.model
        if own is None or (own.model_id, own.revision) == (model.model_id, model.revision):
            return replace(self, model=model)
        new = {own.model_id: model.model_id}
        if own.revision is not None and model.revision is not None:
            new[own.revision] = model.revision
        return replace(
            self, model=model, manifest=_renamed(self.manifest, new), completion=_renamed(self.completion, new)
        )


def _renamed(value: Any, new: Mapping[str, str]) -> Any:
    """Return JSON with words replaced in every text, Serve's configuration included."""
    if isinstance(value, Mapping):
        return {key: _renamed(item, new) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed(item, new) for item in value]
    if isinstance(value, str):
        for old, word in new.items():
            value = value.replace(old, word)
    return value


def builtin_workload(
    name: str = DEFAULT_PROFILE, profile: str = DEFAULT_PROFILE, served: BuiltinProfile | None = None
) -> Workload:
    """Return a built-in workload by its profile, under a name of the experiment's, or say which profiles there are."""
    if profile not in PROFILES:
        raise ConfigurationError(f"Workload profile {shown(profile)} is unknown{nearest(profile, PROFILES)}.")
    served = served or PROFILES[profile]
    return Workload(
        name=name,
        manifest=builtin_manifest(served),
        model=served.model,
        completion=completion_request(served.served_name),
        setups=tuple(ScalingSetup),
        fast_download=FastDownload(served.fast_download_pip, dict(served.fast_download_env)),
        profile=profile,
        base_digest=served.image.base_digest,
    )


_CHAT_PATH: Final = "/v1/chat/completions"


def completion_request(model: str) -> dict[str, Any]:
    """Return the request whose valid answer proves that the model serves (OpenAI's chat completions, as vLLM serves
    it).
    """
    return {
        "path": _CHAT_PATH,
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": "Say one word."}],
            "max_tokens": 8,
            "temperature": 0,
        },
        "expect_model": model,
    }
