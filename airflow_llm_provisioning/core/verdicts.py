"""Was the start cold, how did an image reach its node, what was a process told: claims with their evidence.

Small questions that treatments put together; a treatment's own verdict lives beside the treatment. Unknown is an
answer, and never stands for yes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, objects, text
from airflow_llm_provisioning.core.loading import not_from_the_hub
from airflow_llm_provisioning.core.trace.objects import Event, History, container_statuses, containers
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.workload import package_name

Value = Literal["yes", "no", "unknown"]
Delivered = Literal["pulled", "present", "streamed", "unknown"]

# Assumed: no registry, network and decompression give more. Full pulls that were published move 0.1 to 0.15 GB/s
# (data-on-eks ray example, 11.6 GB in 121 s; acr #873, 4.08 GB in 168.8 s), streamed ones seem to move tens.
IMPLAUSIBLE_BYTES_S: Final = 500_000_000
# Below this a pull is short whatever happened, and a rate says nothing.
JUDGED_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer to a claim, with the sentences it rests on."""

    claim: str
    value: Value
    evidence: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"claim": self.claim, "value": self.value, "evidence": list(self.evidence)}


@dataclass(frozen=True, slots=True)
class ImageArrival:
    """How a pod's image reached its node, as far as the kubelet and the node said.

    `pull_s`: the kubelet's own figure, without waiting for other pulls; `size_bytes`: compressed. Both None where no
    event says so. A streamed image still reports its full size: no bandwidth can be computed from it.
    """

    delivered: Delivered
    image: str | None
    pull_s: float | None
    size_bytes: int | None
    evidence: tuple[str, ...]

    @property
    def rate_bytes_s(self) -> float | None:
        """Size over pull time, meaningful only for `pulled`."""
        return self.size_bytes / self.pull_s if self.size_bytes and self.pull_s else None


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


def cold_start(view: TraceView) -> Verdict:
    """Say whether every Ray pod of the deciding path met a node that was younger than the submission, and the engine
    found nothing that an earlier start had left. An image that came with a young node's disk (snapshot, streaming) is
    still a cold start.
    """
    pods = [pod for pod in (view.head, view.worker) if pod]
    if view.worker is None or view.head is None:
        return Verdict("cold_start", "unknown", ("Head or worker pod was not seen.",))
    found = [Verdict("cold_start", "no", (sentence,)) for sentence in cache_hits(view)]
    return all_of("cold_start", [*(_cold_pod(view, pod) for pod in pods), *found])


def image_arrival(view: TraceView, pod: History | None) -> ImageArrival:
    """Say how a pod's image reached its node: from the pull events of its first container that has one, and the node's
    own streaming events. With `wait-gcs-ready` the worker's pull is charged to that init container (KubeRay 1.x).
    """
    if pod is None:
        return ImageArrival("unknown", None, None, None, ("The pod was not seen.",))
    pulls = [event for event in view.events_of(pod) if event.reason in ("Pulling", "Pulled")]
    full = next((event for event in pulls if event.reason == "Pulled" and _PULLED.search(event.message)), None)
    present = next((event for event in pulls if _found_present(pod, event)), None)
    image = _image_named(pulls)
    streaming = streaming_signals(view, pod)
    if full is not None:
        pull_s, size = pulled_figures(full.message)
        return _arrived_by_pull(pod, full, image, pull_s, size, streaming)
    if present is not None:
        sentence = f"Pod {pod.name}: {present.message} (event Pulled)"
        delivered: Delivered = "streamed" if streaming else "present"
        return ImageArrival(delivered, image, None, None, (sentence, *streaming))
    return ImageArrival("unknown", image, None, None, (f"Pod {pod.name}: no Pulled event was seen.", *streaming))


def streaming_signals(view: TraceView, pod: History) -> tuple[str, ...]:
    """Return what says that this pod's image was streamed.

    GKE: a Node event `ImageStreaming`, "Image <ref> is backed by image streaming." (PerfKitBenchmarker
    tests/kubernetes_conditions_test.py). AKS: a pod condition or event of acr-nodemon whose positive wording is not
    published, so any that speaks of streaming and is not a refusal counts (AgentBaker #3711, AKS #3928).
    """
    images = images_of(pod)
    found = [
        f"Node {event.involved_name}: {event.message} (event ImageStreaming)"
        for event in view.events_of(view.node_of(pod), "ImageStreaming")
        if any(_same_image(image, event.message) for image in images)
    ]
    found += [
        f"Pod {pod.name}: {event.message} (event {event.reason})"
        for event in view.events_of(pod)
        if _streams(f"{event.reason} {event.message}")
    ]
    for entry in map(mapping, items(dig(pod.last, "status", "conditions"))):
        told = " ".join(text(entry.get(key)) for key in ("type", "reason", "message"))
        if entry.get("status") == "True" and _streams(told):
            found.append(f"Pod {pod.name}: condition {told}")
    return tuple(found)


def pulled_figures(message: str) -> tuple[float | None, int | None]:
    """Read seconds and bytes out of a `Pulled` message, in each wording (kubelet to 1.26, to 1.29, since).

    The first duration is the pull alone; the one "including waiting" counts the queue too.
    """
    match = _PULLED.search(message)
    size = _SIZE.search(message)
    return (go_duration_s(match.group(1)) if match else None), (int(size.group(1)) if size else None)


def go_duration_s(value: str) -> float | None:
    """Read a duration as Go prints it (`2m10.813s`, `796ms`) in seconds, or None."""
    parts = _GO_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return float(sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def images_of(pod: History | None) -> tuple[str, ...]:
    """Return the images of a pod's containers as specified, each once."""
    specs = [*items(dig(pod.last if pod else None, "spec", "initContainers"))]
    specs += items(dig(pod.last if pod else None, "spec", "containers"))
    return tuple(dict.fromkeys(text(mapping(spec).get("image")) for spec in specs if mapping(spec).get("image")))


def image_digest(pod: History | None) -> str | None:
    """Return the digest (`sha256:...`) that a pod's main container really ran, or None."""
    found: str | None = None
    for status in container_statuses(pod.last if pod else None):
        _, _, digest = text(status.get("imageID")).rpartition("@")
        found = digest if digest.startswith("sha256:") else found
    return found


def variant_image(view: TraceView) -> Verdict:
    """Say whether the image that was served is one of the variant's own, as the trial's header tells: its recipe's
    base, or what was prepared for it, and where its digest is known, that very one. Another one may hold anything,
    packages that a baseline lacks among it.
    """
    served, recipe = text(view.trial.get("image")), mapping(view.trial.get("recipe"))
    base, pinned = text(recipe.get("base")), text(recipe.get("base_digest"))
    prepared, digest = (text(dig(view.trial, "prepared", key)) for key in ("image", "digest"))
    if not served or not base:
        return Verdict("variant_image", "unknown", ("What was served, or the variant's recipe, is not known.",))
    own = [f"{base}@{pinned}" if pinned else base, *([prepared] if prepared else [])]
    same = served in own or (bool(digest) and served.endswith(f"@{digest}"))
    told = f"The pods were given {served}; the variant's own image is {' or '.join(own)}."
    given = Verdict("variant_image", "yes" if same else "no", (told,))
    return all_of("variant_image", [given, *_ran_another(view, digest if prepared and served == prepared else "")])


def switch(view: TraceView, name: str) -> Verdict:
    """Say whether an environment switch is on for the processes on head and worker: as the application's runtime_env
    says, which Ray puts over the container's environment, else as Kubernetes was told. What an image sets is not seen.
    """
    pods = [pod for pod in (view.head, view.worker) if pod]
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


def runtime_variables(view: TraceView) -> dict[str, Any]:
    """Return the variables that the applications' runtime environments set; values are redacted as in pods."""
    found: dict[str, Any] = {}
    for application in view.applications:
        found |= mapping(dig(application, "runtime_env", "env_vars"))
    return found


def cache_hits(view: TraceView) -> tuple[str, ...]:
    """Return what the engine says it found ready: compiled graphs (vLLM 0.10 to 0.33), and weights."""
    lines = (line.strip() for log in view.logs for line in log.text.splitlines())
    compiled = dict.fromkeys(f"Engine: {line[:300]}" for line in lines if _CACHED_GRAPHS.search(line))
    weights = weights_found(view)
    return (*compiled, weights) if weights else tuple(compiled)


def weights_found(view: TraceView) -> str | None:
    """Return a sentence where the engine found a hub model's weights on its disk, or None.

    Since its V1 engine vLLM prints how long their download took, if that was more than half a second. Where it loaded
    some and says nothing of a download, those too large to come that fast were there. vLLM 0.5.4 never says it.
    """
    weights = number(dig(view.trial, "model", "weight_bytes")) or 0
    silent = [log for log in view.logs if _loaded_without_download(log.text)]
    if weights < _QUICKEST_DOWNLOAD_BYTES or not silent or not_from_the_hub(view):
        return None
    return f"The engine loaded {weights / 1e9:.1f} GB of weights and downloaded none ({silent[0].filename})."


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
    (`trial.image.recipe.pip` or `trial.recipe.pip`); None where the header has no recipe.
    """
    recipe = mapping(dig(view.trial, "image", "recipe") or view.trial.get("recipe"))
    if "pip" not in recipe:
        return None
    return {package_name(item): item for item in items(recipe["pip"]) if isinstance(item, str)}


_PULLED = re.compile(r"Successfully pulled image .*? in ((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|h|m|s))+)")
_SIZE = re.compile(r"Image size: (\d+) bytes")
_PRESENT = re.compile(r"already present on machine")
_CACHED_GRAPHS = re.compile(r"Directly load (?:the compiled graph|AOT compilation)")
# In seconds: 0.5.4 says `Loading model weights took N GB`, which is another line.
_LOADED = re.compile(r"Loading weights took [0-9.]+ seconds")
_DOWNLOADED = re.compile(r"(?:Time spent downloading weights for|Weights downloaded in )")
# More than any node gets in half a second: 80 Gbit/s.
_QUICKEST_DOWNLOAD_BYTES: Final = 5e9
_QUOTED = re.compile(r'image "([^"]+)"')
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)")
_GO_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _arrived_by_pull(
    pod: History, event: Event, image: str | None, pull_s: float | None, size: int | None, streaming: Sequence[str]
) -> ImageArrival:
    sentences = [f"Pod {pod.name}: {event.message} (event Pulled)", *streaming]
    delivered: Delivered = "streamed" if streaming else "pulled"
    fast = size is not None and pull_s is not None and size >= JUDGED_BYTES and size > pull_s * IMPLAUSIBLE_BYTES_S
    if fast and not streaming:
        delivered = "streamed"
        sentences.append(f"{size} bytes in {pull_s} s were not moved over a network: mounted lazily, or local already.")
    return ImageArrival(delivered, image, pull_s, size, tuple(sentences))


def _cold_pod(view: TraceView, pod: History) -> Verdict:
    node = view.node_of(pod)
    if node is None:
        return Verdict("cold_start", "unknown", (f"The node of pod {pod.name} was not seen.",))
    young = view.younger_than_submission(node)
    if young is None:
        return Verdict("cold_start", "unknown", (f"Whether node {node.name} is younger than the trial is not known.",))
    how = image_arrival(view, pod)
    if young:
        return Verdict("cold_start", "yes", (f"Node {node.name} was created after the submission.", *how.evidence))
    older = f"Node {node.name} was there before the submission."
    return Verdict("cold_start", "no", (older, *how.evidence))


def _image_named(pulls: Sequence[Event]) -> str | None:
    return next((match.group(1) for event in pulls if (match := _QUOTED.search(event.message))), None)


def _found_present(pod: History, event: Event) -> bool:
    """Whether an event says that an image was there before the pod: its second container finds it always."""
    if event.reason != "Pulled" or not _PRESENT.search(event.message):
        return False
    named = _QUOTED.search(event.message)
    users = [text(spec.get("name")) for spec in containers(pod.last) if named and spec.get("image") == named.group(1)]
    return not event.container or not users or event.container == users[0]


def _ran_another(view: TraceView, wanted: str) -> list[Verdict]:
    """Return a no for each pod that ran another digest than the one that was prepared under the reference."""
    pods = [pod for pod in (view.head, view.worker) if pod]
    ran = [(pod, digest) for pod in pods if (digest := image_digest(pod)) and wanted and digest != wanted]
    return [
        Verdict("variant_image", "no", (f"Pod {pod.name} ran {digest}; prepared was {wanted}.",)) for pod, digest in ran
    ]


def _switched(name: str, value: Any, where: str) -> Verdict:
    """Judge a switch by its value (huggingface_hub constants.py, _is_true); one that is a reference is not known."""
    if value is None:
        return Verdict(name, "unknown", (f"{where} takes {name} from elsewhere.",))
    on = str(value).strip().lower() in ("1", "true", "yes", "on")
    return Verdict(name, "yes" if on else "no", (f"{where} has {name}={value}.",))


def _loaded_without_download(log: str) -> bool:
    started = log.find("Starting to load model ")
    return started >= 0 and bool(_LOADED.search(log, started)) and not _DOWNLOADED.search(log)


def _same_image(image: str, message: str) -> bool:
    return bool(image) and image in message


def _streams(told: str) -> bool:
    lower = told.lower()
    return "stream" in lower and not any(word in lower for word in ("disabled", "not ", "fail", "unsupported"))
