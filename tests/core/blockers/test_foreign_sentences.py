"""Sentences of registries, runtimes, API servers and engines: judged by what is said, not by names in them, and each
with the advice of its place.
"""

import time
from typing import Any

import pytest
from blocker_lines import HOUR_S, WORKER, at, blocked, event, judged, line, pod, ready_head, running, service, waiting

from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.sentences import plain, without_names
from airflow_llm_provisioning.core.blockers.tracebacks import failure_of, root_error_of

ECR = "714290001234.dkr.ecr.us-west-2.amazonaws.com/ray:1"
TAG = "registry.example.com:5000/ray:500"
X509 = 'Head "https://r.example.com/v2/": tls: failed to verify certificate: x509: certificate is valid for a, not b'


@pytest.mark.parametrize(
    ("message", "final", "advice"),
    [
        (f'failed to resolve reference "{ECR}": {ECR}: not found', True, "name and tag"),
        (f'failed to resolve reference "{TAG}": pull access denied, authorization failed', True, "right to pull"),
        (f"{TAG}: not found", True, "name and tag"),
        ('failed to pull image "r/ray-timeout:1": r/ray-timeout:1: not found', True, "name and tag"),
        ('Get "https://r.example.com/v2/denied/x/blobs/sha256:4290": EOF', False, ""),
        ('Get "https://r.example.com/v2/x/manifests/1": no basic auth credentials', True, "right to pull"),
        ("403 Forbidden: denied: API rate limit exceeded", False, "of your own"),
        (X509, True, "certificate"),
        ('short-name "vllm" did not resolve to an alias and no unqualified-search registries', True, "its registry"),
        ('media type "a" is no longer supported since containerd v2.1, please rebuild', True, "schema 2"),
        ("dial tcp 10.0.0.7:443: connect: no route to host", False, "routes"),
    ],
)
def test_a_pull_is_judged_without_the_names_in_its_message(message: str, final: bool, advice: str) -> None:
    """An account number that holds 429, a tag 500 and a repository called `denied` are no answers."""
    (found,) = blocked(service(), ready_head(), pod(20, waiting("ErrImagePull", message)))
    assert (found.kind == "image_refused") is final
    assert advice in found.advice if advice else not found.advice


def test_a_command_whose_name_is_a_word_of_trouble_is_still_refused() -> None:
    """`timeout` is a program, here."""
    message = 'unable to start container process: exec: "timeout": executable file not found in $PATH: unknown'
    (found,) = blocked(service(), ready_head(), pod(20, waiting("RunContainerError", message)))
    assert found.kind == "container_refused"


def test_the_end_of_a_long_message_is_kept() -> None:
    """Names of 250 characters stand before the cause; the cause and its advice stay."""
    name = f"999.dkr.ecr.us-west-2.amazonaws.com/{'x' * 250}:1"
    message = f'failed to pull "{name}": failed to resolve reference "{name}": unexpected status: 401 Unauthorized'
    (found,) = blocked(service(), ready_head(), pod(20, waiting("ErrImagePull", message)))
    assert found.sentence.startswith("failed to pull")
    assert found.sentence.endswith("401 Unauthorized")
    assert "right to pull" in found.advice
    assert len(plain("ab " * 400)) <= 500


def test_names_are_left_out_in_linear_time() -> None:
    """A message is foreign input."""
    begun = time.process_time()
    for part in ("a/", "a.", "a:", "a-", "http://", '"', ":/"):
        without_names(part * 50_000)
    assert time.process_time() - begun < 2


def test_a_reason_that_is_not_known_keeps_its_message() -> None:
    """A hook that fails says why."""
    message = 'Exec lifecycle hook ([/bin/x]) for Container "ray-worker" failed: exited with 1'
    (found,) = blocked(service(), ready_head(), pod(20, waiting("PostStartHookError", message)))
    assert found.sentence == message


HEAD = 'pods "a-x1-head" is forbidden: '
POLICY = 'admission webhook "validate.kyverno.svc-fail" denied the request: set activeDeadlineSeconds; a timeout'
BAD = "UpdateDeployments fail: 400 Bad Request ValidationError: applications -> 0 -> import_path field required"


@pytest.mark.parametrize(
    ("message", "kind", "advice"),
    [
        (POLICY, "pod_refused", "owner of the policy"),
        (f"{HEAD}unable to create new content in namespace n because it is being terminated", "pod_refused", "another"),
        (f"{HEAD}maximum memory usage per Container is 8Gi, but limit is 20Gi", "pod_refused", "LimitRange"),
        (f"{HEAD}failed quota: q: must specify limits.cpu for: ray-head", "pod_refused", "requests and limits"),
        (f"{HEAD}no PriorityClass with name gpu-high was found", "pod_refused", "priority class"),
        (f'{HEAD}pod rejected: RuntimeClass "nvidia" not found', "pod_refused", "runtime class"),
        (f'{HEAD}violates PodSecurity "restricted:latest": x', "pod_refused", "securityContext"),
        ('pods is forbidden: User "system:x" cannot create resource "pods"', "pod_refused", "KubeRay operator"),
        ('failed calling webhook "w": no endpoints available for service "w"', "operator_retries", "does not answer"),
        ("etcdserver: request timed out", "operator_retries", ""),
    ],
)
def test_an_answer_of_admission_is_judged_and_has_its_advice(message: str, kind: str, advice: str) -> None:
    """What a policy says after its refusal may contain any word."""
    failed = event(20, "FailedToCreateHeadPod", message, kind="RayCluster", name="a-x1")
    (found,) = blocked(service(), failed)
    assert found.kind == kind
    assert advice in found.advice


@pytest.mark.parametrize("message", [f"Failed to update serve applications: {BAD}", "error converting YAML to JSON"])
def test_a_configuration_that_serve_cannot_read_ends_the_wait(message: str) -> None:
    """It is answered alike at every try, also where all pods run; a head that does not answer yet may come."""
    failed = event(20, "FailedToUpdateServeApplications", message, kind="RayService", name="a")
    found = judged(service(), ready_head(), failed, until_s=HOUR_S)
    assert found.state == "failed"
    assert "serveConfigV2" in str(found.reason)
    early = event(
        20, "FailedToUpdateServeApplications", "Put x: connection refused", kind="RayService", name="a", count=9
    )
    assert judged(service(), ready_head(), early, until_s=HOUR_S).state == "pending"


def test_a_service_account_that_is_missing_is_named() -> None:
    """Ray's autoscaler has its own; the event's reason is no `FailedToCreate`."""
    message = "Failed to reconcile RayCluster n/a-x1. The service account ray does not exist"
    failed = event(20, "AutoscalerServiceAccountNotFound", message, kind="RayCluster", name="a-x1")
    (found,) = blocked(service(), failed)
    assert (found.kind, found.sentence) == ("pod_refused", message)
    assert "service account" in found.advice


def raycluster(second: float, **status: Any) -> dict[str, Any]:
    metadata = {"name": "a-x1", "namespace": "n", "uid": "rc", "ownerReferences": [{"uid": "rs"}]}
    return line(second, "rayclusters", {"metadata": metadata, "status": status})


FORBIDDEN = f'{HEAD}violates PodSecurity "restricted:latest"'


@pytest.mark.parametrize(
    "status",
    [
        {"conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateHeadPod", "message": FORBIDDEN}
        ]},
        {"state": "failed", "reason": FORBIDDEN},
    ],
)  # fmt: skip
def test_a_refused_pod_is_read_from_the_raycluster_where_no_event_tells_it(status: dict[str, Any]) -> None:
    """Events are gone after an hour, or may not be read: KubeRay 1.2 has a condition, older ones a field."""
    lines = service(), raycluster(20, **status)
    found = judged(*lines, until_s=HOUR_S)
    assert found.state == "failed"
    assert FORBIDDEN in str(found.reason)
    assert blocked(*lines, raycluster(40)) == []
    assert blocked(*lines, ready_head(40)) == []


def creating(second: float) -> dict[str, Any]:
    return pod(second, {"name": "ray-worker", "state": {"waiting": {"reason": "ContainerCreating"}}})


MISSING = 'MountVolume.SetUp failed for volume "hf": secret "hf-token" not found'


def test_a_volume_that_came_in_the_end_does_not_end_a_long_pull() -> None:
    """The Secret is created a moment after the pod: the kubelet goes on, and its old warning proves nothing."""
    late = event(20, "FailedMount", MISSING, count=4)
    pulling = event(45, "Pulling", 'Pulling image "r/i:1"', warning=False)
    lines = service(), ready_head(), creating(10), late
    assert judged(*lines, pulling, until_s=HOUR_S).state == "pending"
    assert judged(*lines, until_s=HOUR_S).state == "failed"


def test_the_detail_of_a_volume_is_told_before_its_summary() -> None:
    """The kubelet sums up every two minutes which volumes are missing, and says why in another event."""
    summary = event(140, "FailedMount", "Unable to attach or mount volumes: unmounted volumes=[hf]: timed out", count=1)
    lines = service(), ready_head(), creating(10), event(130, "FailedMount", MISSING, count=9), summary
    (found,) = blocked(*lines, second=150)
    assert (found.kind, found.sentence) == ("object_missing", MISSING)


def test_a_scheduler_of_ones_own_that_does_not_run_is_named() -> None:
    """A pod that no scheduler takes has no condition at all."""
    waits = pod(20, node=None)
    waits["object"]["spec"]["schedulerName"] = "volcano"
    told = judged(service(), ready_head(), waits).blockers.at
    assert any("'volcano'" in one.sentence for one in told(at(100)))


@pytest.mark.parametrize(
    ("taint", "advised"),
    [
        ("{node.kubernetes.io/not-ready: }", False),
        ("{node-role.kubernetes.io/control-plane: }", False),
        ("{karpenter.sh/unregistered: }", False),
        ("{nvidia.com/gpu: present}", True),
    ],
)
def test_taints_of_nodes_that_are_not_ready_are_no_matter_of_the_pods(taint: str, advised: bool) -> None:
    """A toleration for them would only place a pod on a node that cannot run it."""
    sentence = f"0/3 nodes are available: 1 node(s) had untolerated taint {taint}, 2 Insufficient nvidia.com/gpu."
    assert ("toleration" in advice_for(sentence, "node")) is advised


def test_a_claim_whose_volume_is_gone_ends_the_wait() -> None:
    """No new node brings it back."""
    message = '0/3 nodes are available: persistentvolumeclaim "m" bound to non-existent persistentvolume "pv-1".'
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    lines = service(), ready_head(), pod(20, node=None, conditions=[told])
    assert judged(*lines, until_s=HOUR_S).state == "failed"


HUB = "https://huggingface.co/m/resolve/main/config.json"
# Sentences of vLLM, torch, huggingface_hub and transformers, from public reports.
ERRORS = {
    f"requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: {HUB}": "token with access",
    "huggingface_hub.errors.HfHubHTTPError: 403 Forbidden: enable access to public gated repositories": "token",
    f"huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: {HUB}": "mirror",
    "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.\nRepository Not Found": "name of the model",
    "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. Revision Not Found": "revision",
    "OSError: x/y is not a local folder and is not a valid model identifier listed": "name of the model",
    "OSError: [Errno 28] No space left on device": "larger disk",
    "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len": "max_model_len",
    "ValueError: Free memory on device cuda:0 (1/2 GiB) is less than desired GPU memory utilization": "other processes",
    "ValueError: The repository x contains custom code; pass `trust_remote_code=True`": "trust_remote_code",
    "ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3).": "tensor_",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": "NVIDIA driver",
    "RuntimeError: No CUDA GPUs are available": "requests a GPU",
    "torch.AcceleratorError: CUDA error: out of memory": "GPU with more memory",
    "torch.distributed.DistBackendError: NCCL error: x\nncclSystemError: x\nLast error:\nto extend /dev/shm/n": "shm",
    "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms": "network between",
    "OSError: [Errno 98] error while attempting to bind on ('0.0.0.0', 8000): address already in use": "port",
    "RuntimeError: Version mismatch: The cluster was started with:\n  Ray: 2.46.0\nThis process:\n  Ray: 2.49": "same",
    "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory": "do not fit",
    "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer": "incomplete",
    "AttributeError: module 'llm' has no attribute 'build_app'": "import_path",
    "TypeError: EngineArgs.__init__() got an unexpected keyword argument 'max_num_seq'": "arguments of the engine",
    "botocore.exceptions.NoCredentialsError: Unable to locate credentials": "bucket",
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_engines_error_has_the_advice_of_engines(error: str) -> None:
    """A 401 of the hub is no matter of an imagePullSecret."""
    found = root_error_of(f"INFO 11-29 15:00:00 [core.py:58] begins\nTraceback (most recent call last):\n{error}\n")
    assert found == " ".join(error.split())
    assert ERRORS[error] in advice_for(found, "engine")


def test_an_assertion_without_a_message_is_told_with_its_line() -> None:
    """Python writes only the name of the exception, and the code above it."""
    log = 'Traceback (most recent call last):\n  File "/x/m.py", line 3, in f\n    assert rank < size\nAssertionError\n'
    assert root_error_of(log) == "AssertionError: assert rank < size"


def test_a_runtime_environment_is_told_with_what_pip_says() -> None:
    """Ray says which command failed and lists its output; the cause is in the output."""
    message = (
        "Deploying app 'llm' failed with exception:\nray.exceptions.RuntimeEnvSetupError: Failed to set up runtime "
        'environment.\nTraceback (most recent call last):\n  File "a.py", line 1, in create\n'
        "ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[9] failed with the following details.\n"
        "Command '['python', '-m', 'pip', 'install']' returned non-zero exit status 1.\nLast 50 lines of stdout:\n"
        "    Collecting vllm==99\n    ERROR: Could not find a version that satisfies the requirement vllm==99\n"
        "    ERROR: No matching distribution found for vllm==99\n"
    )
    told = failure_of(message)
    assert "Deploying app 'llm' failed" in told
    assert "No matching distribution found for vllm==99" in told
    assert "packages of the runtime_env" in advice_for(told, "engine")


def test_a_running_worker_ends_what_was_refused_before() -> None:
    """The new judgements pass like the old ones."""
    refused = pod(20, waiting("ErrImagePull", X509))
    assert blocked(service(), ready_head(), refused, pod(60, running())) == []
    assert WORKER in blocked(service(), ready_head(), refused)[0].about
