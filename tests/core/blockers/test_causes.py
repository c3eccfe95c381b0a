"""Each place's sentences have the advice for their cause, and not that of a neighbour with a word in common."""

import pytest
from blocker_lines import HOUR_S, blocked, event, judged, service

from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.tracebacks import failure_of, root_error_of

# Why a kubelet gives a pod up, as `REASON message` (kubernetes, pkg/kubelet: eviction, lifecycle, cm).
GIVEN_UP = {
    "UnexpectedAdmissionError Pod was rejected: Allocate failed due to requested number of devices unavailable for "
    "nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected": "device plugin",
    "UnexpectedAdmissionError Allocate failed due to rpc error: code = Unknown desc = invalid request for sharing GPU "
    "(MPS), at most 1 nvidia.com/gpu can be requested on multi-GPU nodes": "shares its GPUs",
    "TopologyAffinityError Pod was rejected: Resources cannot be allocated with Topology locality": "NUMA",
    "OutOfnvidia.com/gpu Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1": "another pod",
    "NodeAffinity Pod was rejected: Predicate NodeAffinity failed": "labels of the node",
    "Evicted Pod was rejected: The node had condition: [DiskPressure].": "larger disk",
    "Evicted The node was low on resource: memory. Threshold quantity: 100Mi, available: 61Mi.": "request of memory",
    "Evicted Pod ephemeral local storage usage exceeds the total limit of containers 10Gi.": "ephemeral-storage",
    'Evicted Usage of EmptyDir volume "shm" exceeds the limit "8Gi".': "sizeLimit",
    "AppArmor Cannot enforce AppArmor: AppArmor is not enabled on the host": "AppArmor",
    'SysctlForbidden forbidden sysctl: "net.core.somaxconn" not allowlisted': "sysctl",
    "Error torch.OutOfMemoryError: CUDA out of memory.": "gpu_memory_utilization",
}
# Containers that containerd, runc and the kubelet cannot start.
NOT_STARTED = {
    'failed to load seccomp profile "/x.json": open /x.json: no such file or directory': "seccomp",
    "failed to fulfil mount request: open /usr/lib/libnvidia-ml.so.550: no such file or directory": "NVIDIA driver",
    "dial unix /run/containerd/containerd.sock: connect: no such file or directory": "container runtime",
    "/bin/sh: 1: ray: not found": "command of the container",
    "curl: (22) The requested URL returned error: 403": "rights to it",
    "failed to perform copy command due to error: no SAS token or OAuth token is present": "identity of the pods",
    "(AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not authorized": "identity of the pods",
    "Failed to initialize NVML: Unknown Error": "recreate the node",
    "Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds.": "does not reach the head",
    "mkdir: cannot create directory '/models/x': Permission denied": "Mount a volume",
    'exec: "/entrypoint.sh": permission denied: unknown': "executable",
    "failed to extract layer sha256:aa: content digest sha256:bb: not found": "copy of the image",
    'The container name "/k8s_x" is already in use by container "9".': "",
}
PROVISION = (
    'PersistentVolumeClaim m, ProvisioningFailed: failed to provision volume with StorageClass "gp3": rpc error: '
)
NODES = {
    f"{PROVISION}api error VolumeLimitExceeded: You have exceeded your maximum gp3 storage limit of 50 TiB": "quota",
    f"{PROVISION}https response error StatusCode: 403, api error UnauthorizedOperation": "CSI driver",
    f"{PROVISION}error generating accessibility requirements: no available topology found": "allowedTopologies",
    f"{PROVISION}VolumeCapabilities is invalid: specified multi writer with mount access type": "ReadWriteOnce",
    'unbound immediate PersistentVolumeClaims. storageclass.storage.k8s.io "fast" not found': "storage class",
    'unbound immediate PersistentVolumeClaims. failed to get target node: nodes "ip-1" not found': "",
    "0/6 nodes are available: 6 node(s) didn't find available persistent volumes to bind.": "Create a volume",
    "0/4 nodes are available: 4 cannot allocate all claims.": "ResourceSlices",
    "0/3 tasks in gang unschedulable: pod group is not ready, 3 Pending, 3 minAvailable": "placed together",
    "0/6 nodes are available: 1 node(s) exceed max volume count.": "fewer volumes",
}
WEBHOOK = 'failed calling webhook "w.example.com": failed to call webhook: Post "https://w.n.svc:443/?timeout=10s": '
ADMISSION = {
    f"{WEBHOOK}x509: certificate has expired or is not yet valid": "certificate",
    f'{WEBHOOK}service "kyverno-svc" not found': "install it again",
    f"{WEBHOOK}context deadline exceeded": "does not answer",
    "image policy webhook backend denied one or more images: Image r/i:1 denied by Binary Authorization": "policy",
    "insufficient quota to match these scopes: [{PriorityClass In [high]}]": "Create a ResourceQuota",
    "the integer value of priority (0) must not be provided in pod spec": "Remove priority",
    "failed to allocate a serviceIP: range is full": "address for a Service",
    'no matches for kind "Gateway" in version "gateway.networking.k8s.io/v1"': "Gateway API",
}
IMAGES = {
    "client with IP '20.1.1.1' is not allowed access, refer https://aka.ms/acr/firewall": "firewall",
    "Source image rejected: A signature was required, but no signature exists": "Sign the image",
    "unexpected commit digest sha256:b, expected sha256:c: failed precondition": "mirror or proxy",
}
HUB = "https://huggingface.co/m/resolve/main/config.json"
# vLLM 0.11 to 0.33, torch, triton, NCCL, Gloo, transformers, Ray and SGLang, from their sources and public reports.
ENGINES = {
    "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=128)": "attention",
    "RuntimeError: FlashAttention only supports Ampere GPUs or newer.": "attention backend",
    "ValueError: Model architectures ['X'] failed to be inspected. Please check the logs": "supports this model",
    "RuntimeError: Cannot find any model weights with `/models/phi`": "holds no weights",
    "FileNotFoundError: [Errno 2] No such file or directory: '/m/model-00001-of-00004.safetensors'": "incomplete",
    "AssertionError: Attempted to load weight (torch.Size([4096])) into parameter (torch.Size([2]))": "do not fit",
    "ValueError: LoRA rank 64 is greater than max_lora_rank 16.": "max_lora_rank",
    "ValueError: Loading lora sql failed: No adapter found for /adapters/sql": "LoRA adapter",
    "NotImplementedError: Speculative decoding with draft model is not supported yet.": "speculative decoding",
    "PermissionError: [Errno 13] Permission denied: '/data/.cache/vllm'": "HF_HOME",
    "OSError: [Errno 30] Read-only file system: '/data/.cache/vllm/torch_compile_cache'": "VLLM_CACHE_ROOT",
    "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler.": "nvcc",
    "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.": "requests a GPU",
    "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory": "requests a GPU",
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized": "Fabric Manager",
    "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered": "damaged",
    "RuntimeError: NCCL error: ncclUnhandledCudaError: Last error: Cuda failure 2 'out of memory'": "more memory",
    "RuntimeError: NCCL error: invalid usage Last error: Duplicate GPU detected : rank 1 and rank 0": "tensor_parallel",
    "RuntimeError: Gloo connectFullMesh failed with [pair.cc:144] no error": "GLOO_SOCKET_IFNAME",
    "ValueError: Tensor parallel size (4) cannot be larger than the number of available GPUs (1).": "tensor_parallel",
    "ValueError: Cannot provide a placement group of [{'GPU': 1.0}] within 1800 seconds.": "worker group",
    "Exception: data did not match any variant of untagged enum ModelWrapper at line 2680 column 3": "tokenizers",
    f"requests.exceptions.SSLError: Max retries exceeded with url: {HUB} (certificate verify failed": "SSL_CERT_FILE",
    f"huggingface_hub.errors.HfHubHTTPError: Server error '504 Gateway Timeout' for url '{HUB}'": "error of its own",
    "httpx.ConnectTimeout: timed out": "reach that address",
    "RuntimeError: DataLoader worker is killed by signal: Bus error. raise your shared memory limit.": "shm",
    "ImportError: vLLM is not installed. Please install it with `pip install ray[llm]`.": "image with vLLM",
    "ValueError: Deployment 'VLLM' does not exist. Available: ['VLLMDeployment'].": "names of the deployments",
    "ray.serve.exceptions.RayServeException: The following deployments from the config do not exist": "names of",
    "ImportError: cannot import name 'LLMConfig' from 'ray.serve.llm' (/x/__init__.py)": "version of that package",
    "zipfile.BadZipFile: File is not a zip file": "working_dir",
    "TimeoutError: Timed out waiting for engine core processes to start. Waited 600s": "READY_TIMEOUT_S",
    "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (4096).": "max_num_batched_tokens",
    "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.": "more memory",
}


@pytest.mark.parametrize(
    ("place", "sentence", "advice"),
    [
        *(("container", *item) for item in (GIVEN_UP | NOT_STARTED).items()),
        *(("node", *item) for item in NODES.items()),
        *(("admission", *item) for item in ADMISSION.items()),
        *(("image", *item) for item in IMAGES.items()),
    ],
)
def test_a_sentence_has_the_advice_of_its_cause(place: str, sentence: str, advice: str) -> None:
    """The first entry that matches counts, so an entry must not match its neighbours' sentences."""
    found = advice_for(sentence, place)
    assert advice in found if advice else not found


@pytest.mark.parametrize("error", ENGINES)
def test_an_exception_of_any_name_is_found_behind_its_frames_and_has_its_advice(error: str) -> None:
    """`zipfile.BadZipFile` and a plain `Exception` are exceptions because frames stand before them."""
    frames = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
    log = f"INFO 11-29 15:00:00 [core.py:58] begins\n{frames}{error}\n"
    assert root_error_of(log) == error
    assert ENGINES[error] in advice_for(error, "engine")


def test_a_package_that_could_not_be_fetched_is_told_with_its_address() -> None:
    """The exception behind Ray's line only has the answer."""
    url = "https://github.com/x/y/archive/main.zip"
    told = failure_of(
        "Deploying app 'llm' failed with exception:\nray.exceptions.RuntimeEnvSetupError: Failed to set up runtime "
        f"environment.\nFailed to download runtime_env file package {url} from the remote to the Ray worker node.\n"
        'Traceback (most recent call last):\n  File "/x.py", line 1\nurllib.error.HTTPError: HTTP Error 404: Not Found'
    )
    assert "Deploying app 'llm' failed" in told
    assert url in told
    assert told.endswith("HTTP Error 404: Not Found")
    assert "rights to it" in advice_for(told, "engine")


def test_a_name_with_a_colon_is_no_exception_elsewhere() -> None:
    """A logger's name and a title look the same."""
    assert root_error_of("INFO begins\nray.serve.Controller: started\nNote: x\n") == ""


@pytest.mark.parametrize(
    "message",
    [
        'pods "a-x1-head" is forbidden: status unknown for quota: compute, resources: limits.cpu,limits.memory',
        'admission webhook "v" denied the request: failed to create pod <n/a> as the podgroup phase is Pending',
    ],
)
def test_an_answer_that_only_holds_until_another_controller_has_acted_is_waited_for(message: str) -> None:
    """A quota that is not computed yet, and a queue that has not admitted the pod group yet."""
    failed = event(20, "FailedToCreateHeadPod", message, kind="RayCluster", name="a-x1", count=9)
    (found,) = blocked(service(), failed)
    assert found.passes
    assert found.advice
    assert judged(service(), failed, until_s=HOUR_S).state == "pending"
