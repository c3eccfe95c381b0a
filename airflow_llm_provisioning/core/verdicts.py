"""Was the start cold, which image ran, what was a process told: claims with their evidence.

Small questions that treatments put together; a treatment's own verdict lives beside the treatment. Unknown is an
answer, and never stands for yes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.engine_caches import engine_finds
from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.image_arrival import image_arrival, image_digest
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.recipe import package_name
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.trace.view import TraceView

Value = Literal["yes", "no", "unknown"]

WarmKind = Literal["node", "image_cache", "compile_cache", "weights"]
WARM_KINDS: Final[tuple[WarmKind, ...]] = ("node", "image_cache", "compile_cache", "weights")
"""What a start can find that is older than itself: a node, an image on such a node, compiled graphs, weights."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer to a claim, with the sentences it rests on."""

    claim: str
    value: Value
    evidence: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"claim": self.claim, "value": self.value, "evidence": list(self.evidence)}


def all_of(claim: str, verdicts: Iterable[Verdict]) -> Verdict:
    """Return yes if all say yes, no if one says no, else unknown; with everybody's evidence."""
    parts = tuple(verdicts)
    values = {part.value for part in parts}
    value: Value = "no" if "no" in values else "unknown" if values != {"yes"} else "yes"
    return Verdict(claim, value, tuple(sentence for part in parts for sentence in part.evidence))


def cloud_says(view: TraceView, claim: str) -> Verdict:
    """Return what the clouds answered about a claim; contradicting answers are unknown."""
    found = view.evidence(claim)
    sentences = tuple(f"{item.detail} ({item.source})" for item in found)
    answers = {item.holds for item in found} - {None}
    if len(answers) > 1:
        return Verdict(claim, "unknown", (*sentences, "The answers contradict each other."))
    if not answers:
        return Verdict(claim, "unknown", sentences or (f"No cloud was asked about {claim}, or none answered.",))
    return Verdict(claim, "yes" if answers == {True} else "no", sentences)


Kept = Mapping[str, "Verdict"]
"""Kind of `WARM_KINDS` -> whether what was found old is what the trial's treatments prepared. Other kinds were not to
be found old.
"""


def cold_start(view: TraceView, kept: Kept = MappingProxyType({})) -> Verdict:
    """Say whether the head and every pod of the engine met a node that was younger than the submission, and the engine
    found nothing that an earlier start had left, except for what the trial's treatments keep warm on purpose. An image
    that came with a young node's disk (snapshot, streaming) is still a cold start.
    """
    if view.head is None or not view.engine_pods:
        return Verdict("cold_start", "unknown", ("The head's pod or the engine's pod was not seen.",))
    pods = (part for pod in view.serving_pods for part in _cold_pod(view, pod))
    found = (*pods, *((kind, Verdict("cold_start", value, (told,))) for kind, value, told in engine_finds(view)))
    return all_of("cold_start", [_answered(part, kept.get(kind)) for kind, part in found])


def _answered(part: Verdict, kept: Verdict | None) -> Verdict:
    """Return a part of the verdict; where it objects, with what is said of the thing that was kept on purpose."""
    if part.value == "yes" or kept is None:
        return part
    told = {"yes": "Kept warm on purpose, and it is what was prepared.", "no": "It is not what was prepared."}
    return Verdict(
        part.claim,
        kept.value,
        (*part.evidence, *kept.evidence, told.get(kept.value, "Whether it is what was prepared is not known.")),
    )


def variant_image(view: TraceView) -> Verdict:
    """Say whether the image that was served is one of the variant's own, as the trial's header tells: its recipe's
    base, or what was prepared for it, and where its digest is known, that very one. Another one may hold anything,
    packages that a baseline lacks among it.
    """
    planned = PlannedFacts.of(view.trial)
    served, base, prepared, digest = planned.image, planned.base, planned.prepared_image, planned.prepared_digest
    if not served or not base:
        return Verdict("variant_image", "unknown", ("What was served, or the variant's recipe, is not known.",))
    own = [base, *([prepared] if prepared else [])]
    same = served in own or (bool(digest) and served.endswith(f"@{digest}"))
    told = f"The pods were given {served}; the variant's own image is {' or '.join(own)}."
    given = Verdict("variant_image", "yes" if same else "no", (told,))
    others = [*_given_another(view, planned), *_ran_another(view, digest if prepared and served == prepared else "")]
    return all_of("variant_image", [given, *others])


def switch(view: TraceView, name: str) -> Verdict:
    """Say whether an environment switch is on for the processes on the head and on every pod of the engine: as the
    application's runtime_env says, which Ray puts over the container's environment, else as Kubernetes was told. What
    an image sets is not seen.
    """
    pods = view.serving_pods
    if not pods:
        return Verdict(name, "unknown", ("No Ray pod was seen.",))
    over = runtime_variables(view)
    if name in over:
        return _switched(name, over[name], "The application's runtime_env")
    return all_of(
        name,
        [
            _switched(name, env[name], f"The environment of pod {pod.name}")
            if name in (env := view.env_of(pod))
            else Verdict(name, "no", (f"Pod {pod.name} has no {name} in its environment.",))
            for pod in pods
        ],
    )


def switched_on(view: TraceView, name: str) -> tuple[Verdict, ...]:
    """Say of each pod of the engine whether an environment switch is on for its processes. For a switch that takes
    something away, one pod is enough.
    """
    over = runtime_variables(view)
    told = "The application's runtime_env"
    return tuple(
        _switched(name, over[name], told)
        if name in over
        else _switched(name, view.env_of(pod).get(name, "0"), f"The environment of pod {pod.name}")
        for pod in view.engine_pods
    )


def runtime_variables(view: TraceView) -> dict[str, Any]:
    """Return the variables that the applications' runtime environments set; values are redacted as in pods."""
    found: dict[str, Any] = {}
    for application in view.applications:
        found |= mapping(dig(application, "runtime_env", "env_vars"))
    return found


def runtime_pip_seen(view: TraceView) -> Verdict:
    """Say whether Ray installed packages at start: by Serve's configuration, and by the environments Ray lists."""
    told = view.runtime_pip
    if told:
        return Verdict("runtime_pip", "yes", (f"Serve's configuration asks for pip {', '.join(told)}.",))
    built = objects(view.ray_answer("ray-runtime-envs"), "data", "result", "result")
    if any("'pip'" in str(entry.get("runtime_env")) or '"pip"' in str(entry.get("runtime_env")) for entry in built):
        return Verdict("runtime_pip", "yes", ("Ray lists a runtime environment with pip packages.",))
    if view.rayservice is None or not view.applications:
        return Verdict("runtime_pip", "unknown", ("Serve's configuration was not seen.",))
    return Verdict("runtime_pip", "no", ("Serve's configuration asks for no pip packages.",))


def recipe_packages(view: TraceView) -> dict[str, str] | None:
    """Return the packages of the served image's recipe, normalised name -> requirement, as the trial's header tells
    (the packages of the recipe's own `pip`); None where the header has no recipe.
    """
    pip = PlannedFacts.of(view.trial).recipe_pip
    return None if pip is None else {package_name(item): item for item in pip}


def _cold_pod(view: TraceView, pod: History) -> Iterator[tuple[WarmKind, Verdict]]:
    node = view.node_of(pod)
    if node is None:
        yield "node", Verdict("cold_start", "unknown", (f"The node of pod {pod.name} was not seen.",))
        return
    young = view.younger_than_submission(node)
    if young is None:
        told = f"Whether node {node.name} is younger than the trial is not known."
        yield "node", Verdict("cold_start", "unknown", (told,))
        return
    how = image_arrival(view, pod)
    if young:
        told = f"Node {node.name} was created after the submission."
        yield "node", Verdict("cold_start", "yes", (told, *how.evidence))
        return
    yield "node", Verdict("cold_start", "no", (f"Node {node.name} was there before the submission.",))
    found: Mapping[str, Value] = {"present": "no", "unknown": "unknown"}
    yield "image_cache", Verdict("cold_start", found.get(how.delivered, "yes"), how.evidence)


def _given_another(view: TraceView, planned: PlannedFacts) -> list[Verdict]:
    """Return a no for each Ray pod whose specification names an image that was not planned: the manifest was changed
    after it was rendered, by a person or an admission plug-in.
    """
    found = []
    for pod in view.serving_pods:
        # Container 0 is Ray's (kuberay 1.7, common/pod.go, RayContainerIndex).
        image = text(next((mapping(spec).get("image") for spec in items(dig(pod.last, "spec", "containers"))), ""))
        same = image in planned.images or bool(planned.prepared_digest and image.endswith(planned.prepared_digest))
        if image and not same:
            told = f"Pod {pod.name} was given {image}; planned was {' or '.join(planned.images)}."
            found.append(Verdict("variant_image", "no", (told,)))
    return found


def _ran_another(view: TraceView, wanted: str) -> list[Verdict]:
    """Return a no for each pod that ran another digest than the one that was prepared under the reference."""
    ran = [(pod, digest) for pod in view.serving_pods if (digest := image_digest(pod)) and wanted and digest != wanted]
    return [
        Verdict("variant_image", "no", (f"Pod {pod.name} ran {digest}; prepared was {wanted}.",)) for pod, digest in ran
    ]


def _switched(name: str, value: Any, where: str) -> Verdict:
    """Judge a switch by its value (huggingface_hub constants.py, _is_true); one that is a reference is not known."""
    if value is None:
        return Verdict(name, "unknown", (f"{where} takes {name} from elsewhere.",))
    on = str(value).strip().lower() in ("1", "true", "yes", "on")
    return Verdict(name, "yes" if on else "no", (f"{where} has {name}={value}.",))
