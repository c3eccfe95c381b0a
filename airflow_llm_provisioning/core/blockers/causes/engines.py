"""What Ray, Ray Serve and engines say when they do not start, and what to do.

Sources: vLLM (0.5 to 0.33: `vllm/v1`, `vllm/config`, `model_executor/model_loader`, `lora`), torch, triton, NCCL and
Gloo, transformers, huggingface_hub, Ray's runtime environments, SGLang and LMDeploy, and public reports of each.
"""

from typing import Final

_HUB_NAMES: Final = r"(?:huggingface|hf\.co|HfHub)"
_LICENCE: Final = "Accept the licence of the model on the hub, and give the pods a token with access."
_READ_BUCKET: Final = "Give the service account of the pods the right to read that bucket."
_SUPPORTS: Final = "Use a version of vLLM and transformers that supports this model."
_NEEDS_GPU: Final = "Check that the engine's worker requests a GPU, and that the deployment asks Ray for one."
_ARGUMENTS: Final = "Correct the arguments of the engine: this version does not know one of them, or its value."

_DOWNLOADS: Final = (
    (
        r"RepositoryNotFound|Repository Not Found|not a valid model identifier|Invalid repository ID|HFValidationError",
        "Check the name of the model. A private or gated model also needs a token in the pods.",
    ),
    (r"gated repo|gated repositories|awaiting a review|restricted and you are not", _LICENCE),
    (
        rf"\b429\b.*{_HUB_NAMES}|{_HUB_NAMES}.*\b429\b|too many requests.*{_HUB_NAMES}",
        "Give the pods a token of the hub (anonymous requests have a lower limit), or use a mirror of the model.",
    ),
    (
        r"RevisionNotFound|Revision Not Found|not a valid git identifier",
        "Check the revision of the model in the manifest.",
    ),
    (rf"\b40[13]\b.*{_HUB_NAMES}|{_HUB_NAMES}.*\b40[13]\b|Invalid username or password", _LICENCE),
    (
        r"outgoing traffic has been disabled|LocalEntryNotFound|offline mode",
        "The model is not in the cache and downloads are off or fail: check HF_HUB_OFFLINE, the cache and the network.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "Give the pods the certificate authority of the proxy or mirror (SSL_CERT_FILE, REQUESTS_CA_BUNDLE).",
    ),
    (
        (
            r"Failed to resolve '|name resolution|Name or service not known|Max retries exceeded|ProxyError"
            r"|Network is unreachable|(?:Connect|Read)Timeout\b|httpx\.ConnectError|RemoteDisconnected"
        ),
        "Check that the pods reach that address: DNS, a NAT gateway or proxy, and firewalls.",
    ),
    (
        rf"(?:Server error '|\b)50[0234]\b.*{_HUB_NAMES}|{_HUB_NAMES}.*\b50[0234]\b",
        "The hub had an error of its own: try again later, or use a mirror of the model.",
    ),
    (
        (
            r"AssumeRoleWithWebIdentity|AADSTS\d|no SAS token|iam\.serviceAccounts\.getAccessToken"
            r"|metadata\.google\.internal"
        ),
        "Check the identity of the pods' service account in the cloud: its annotation, and who may assume the role.",
    ),
    (
        (
            r"NoCredentials|Unable to locate credentials|AccessDenied|\(403\) when calling|DefaultCredentialsError"
            r"|does not have storage\.|AuthorizationPermissionMismatch|libstreamer.*(?:Access ?Denied|403)"
        ),
        _READ_BUCKET,
    ),
)
_DISKS: Final = (
    (
        r"dev/shm|torch_\d+.*No space left|shared memory limit|insufficient shared memory|out of shared memory",
        "Give the pods a larger /dev/shm (an emptyDir with medium: Memory).",
    ),
    (r"No space left on device|disk quota exceeded", "Give the nodes a larger disk, or the cache a larger volume."),
    (
        r"Read-only file system|PermissionError|cannot create directory .*Permission denied",
        "Mount a volume there that the engine may write to, or move its caches (HF_HOME, VLLM_CACHE_ROOT).",
    ),
)
_MEMORY: Final = (
    (
        (
            r"cuda out of memory|outofmemoryerror|CUDA (?:runtime )?error: out of memory|Cuda failure 2"
            r"|mem-fraction-static"
        ),
        "Use a GPU with more memory, a smaller model, or a lower gpu_memory_utilization.",
    ),
    (
        r"no available memory for the cache blocks|max seq len .*larger than|KV cache is needed",
        "Lower max_model_len, raise gpu_memory_utilization, or use a GPU with more memory.",
    ),
    (
        r"less than desired GPU memory utilization|Error in memory profiling|memory capacity is unbalanced",
        "Lower gpu_memory_utilization, or keep other processes off that GPU.",
    ),
    (r"max_model_len .*greater than the derived", "Lower max_model_len to what the model supports."),
    (r"smaller than max_model_len", "Raise max_num_batched_tokens, or lower max_model_len."),
    (
        r"can't allocate memory|Cannot allocate memory|std::bad_alloc",
        "Raise the memory of that pod in the manifest.",
    ),
    (
        r"can't start new thread|Too many open files|pthread_create",
        "Raise the limit of processes or of open files of pods on the nodes (kubelet, container runtime).",
    ),
)
_MODELS: Final = (
    (r"max_lora_rank", "Raise max_lora_rank to that of the adapter."),
    (
        r"No adapter found|expected target modules|unsupported LoRA|Loading lora \S+ failed",
        "Check the LoRA adapter: its path, its files, and that it was made for this model.",
    ),
    (
        r"Speculative decoding|draft model|speculative_config",
        "Use a kind of speculative decoding that this version supports, and a draft model with the same vocabulary.",
    ),
    (
        r"divisible by weight quantization",
        "Lower tensor_parallel_size, or use weights without this quantization: their blocks cannot be divided so.",
    ),
    (
        (
            r"Unknown quantization|quantization method|quantization .*not (?:supported|match)"
            r"|Cannot find the config file for \w+$"
        ),
        "Use a quantization that this model, this GPU and this version of vLLM support.",
    ),
    (r"kv-?cache is not supported|kv_cache_dtype", "Use another kv_cache_dtype for this model and GPU."),
    (
        r"No valid attention backend|attention ?backend.*not valid|only supports Ampere|FlashAttention",
        "Use another attention backend, or a newer GPU: this one does not fit the model or the GPU.",
    ),
    (r"bfloat16 is only supported|Minimum capability|compute capability", "Use dtype half, or a newer GPU."),
    (r"trust_remote_code", "Set trust_remote_code, if you trust the code of that model."),
    (
        (
            r"does not recognize this architecture|architectures? .*not supported|no module or parameter named"
            r"|failed to be inspected|Unrecognized model in|Pipeline parallelism is not supported"
        ),
        _SUPPORTS,
    ),
    (
        r"deserializing header|MetadataIncompleteBuffer|HeaderTooLarge|No such file or directory: \S+\.safetensors",
        "The weights are incomplete: download them anew.",
    ),
    (
        r"find any model weights|no file named pytorch_model",
        "That folder holds no weights that the engine can read: check the path, the download and load_format.",
    ),
    (
        r"not initialized from checkpoint|Attempted to load weight|size mismatch for",
        "The weights do not fit the model's configuration: check model, revision and quantization.",
    ),
    (
        (r"Can't load tokenizer|tokenizer_config|Tokenizer class|backend tokenizer|untagged enum ModelWrapper"),
        "Check the tokenizer of the model and the versions of transformers and tokenizers, or name another one.",
    ),
    (r"chat template", "Give the engine a chat template of the model, and check its path."),
)
_GPUS: Final = (
    (
        (
            r"Cannot provide a placement group|more than 30s to be scheduled|ray status|has no GPU available"
            r"|are infeasible"
        ),
        "Check that a worker group has what a replica asks Ray for, and that its maxReplicas allows one more.",
    ),
    (
        (
            r"must be divisible by tensor parallel|number of required GPUs exceeds|tensor.parallel.*greater than"
            r"|larger than the number of available GPUs|invalid device ordinal|Duplicate GPU detected"
        ),
        "Set tensor_parallel_size to what the model and the GPUs of a worker allow.",
    ),
    (
        r"system not yet initialized",
        "The NVIDIA Fabric Manager of the node does not run: use a node image that starts it, or recreate the node.",
    ),
    (
        r"ECC error|unspecified launch failure|GPU is lost|fallen off the bus",
        "The GPU of that node is damaged: cordon the node, and let another one be made.",
    ),
    (
        r"devices?(?:\(s\))? (?:is/)?are busy or unavailable",
        "Another process holds that GPU: keep it off, or recreate the node.",
    ),
    (
        (
            r"no kernel image is available|driver on your system is too old|driver version is insufficient"
            r"|driver / cuda driver combination|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|forward compatibility"
            r"|unsupported toolchain|kernel image is invalid|CUDA error: invalid device function"
            r"|built for SM \d|different GPU architecture"
        ),
        "Use a node image with a newer NVIDIA driver, or an image built for this GPU and driver.",
    ),
    (
        (
            r"No CUDA GPUs are available|Failed to infer device type|no NVIDIA driver|CUDA is not available"
            r"|CUDA driver initialization failed|CUDA unknown error|libcuda\.so|Device string must not be empty"
        ),
        _NEEDS_GPU,
    ),
    (
        r"Failed to initialize NVML: Unknown|No devices were found|/dev/nvidia\S*: no such",
        "The node's GPU or its driver does not answer: recreate the node, or look at its device plugin.",
    ),
    (
        r"find C compiler|find nvcc|'nvcc'|'ninja'|ninja: build stopped|Ninja build failed|ptxas",
        "Use an image with gcc and CUDA's nvcc in a version that knows this GPU, or with kernels built for it.",
    ),
    (
        (
            r"NCCL|Gloo|DistNetworkError|DistStoreError|collective operation timeout"
            r"|Unable to resolve hostname to a \(local\)"
        ),
        "Check the network between the workers (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME); NCCL_DEBUG=INFO tells more.",
    ),
)
_PACKAGES: Final = (
    (
        r"connect to GCS|waiting for GCS|any running Ray instance",
        "The worker does not reach the head: check that the head runs, its Service, and network policies.",
    ),
    (r"requested URL returned error: 4|HTTP Error 40[1345]", "Check that address, and the rights to it."),
    (r"already in use(?! by container)", "Use another port: a second process of the pod has it."),
    (r"Version mismatch", "Use the same version of Ray and Python in the images of head and workers."),
    (
        r"cannot open shared object file|undefined symbol|torchvision::nms|Numba needs NumPy",
        "Use an image whose packages were built for one another: versions of torch, CUDA and vLLM do not fit.",
    ),
    (r"vLLM is not installed", "Use an image with vLLM, such as rayproject/ray-llm."),
    (r"cannot import name", "Use the version of that package for which the code was written."),
    (
        r"ModuleNotFoundError|No module named",
        "Add that module to the image or to the runtime_env.",
    ),
    (r"[Dd]eployments? .*(?:does|do) not exist", "Correct the names of the deployments in serveConfigV2."),
    (r"ValidationError.*LLM(?:Config|ServingArgs)", "Correct llm_configs in serveConfigV2."),
    (r"module '?\S+ has no attribute|has no attribute", "Check import_path in serveConfigV2 and the code behind it."),
    (
        (
            r"unexpected keyword argument|Extra inputs are not permitted|unrecognized arguments|error: argument "
            r"|unknown flag"
            r"|requires --tool-call-parser|invalid tool call parser|reasoning parser"
        ),
        _ARGUMENTS,
    ),
    (
        r"No matching distribution|Could not find a version|ResolutionImpossible|No solution found when resolving",
        "Correct the packages of the runtime_env, or build them into the image.",
    ),
    (r"setup_timeout_seconds", "Raise setup_timeout_seconds of the runtime_env, or build its content into the image."),
    (
        r"working_dir|exceeds the maximum size|runtime_env file package|existing directory or a zip|BadZipFile",
        "Check working_dir of the runtime_env: its address, size and rights.",
    ),
    (
        r"VLLM_ENGINE_READY_TIMEOUT_S|Timed out waiting for engine core",
        "Raise VLLM_ENGINE_READY_TIMEOUT_S, or make the weights load faster.",
    ),
    (r"No such file or directory|FileNotFoundError", "Check that path, and what is mounted or built into the image."),
)
CAUSES: Final = (
    (
        r"ray\.exceptions\.OutOfMemoryError|node running low on memory|killed due to memory pressure",
        "Raise the memory of that pod in the manifest: Ray ended a process because the memory of its node was used up.",
    ),
    *_DOWNLOADS,
    *_DISKS,
    *_MEMORY,
    *_MODELS,
    *_GPUS,
    *_PACKAGES,
)
