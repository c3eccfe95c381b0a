"""Reads a model's current commit and the size of its weights from the model hub.

Only metadata is read, never a weight. HF_ENDPOINT and HF_TOKEN are huggingface_hub's environment variables. The
endpoint is read at each call, because the library's constant is fixed when the process starts.
"""

import os
from typing import Any, Final

from airflow_llm_provisioning.core.model import Model
from airflow_llm_provisioning.exceptions import HubError

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
TIMEOUT_S: Final = 20.0
# What vLLM loads, in its order of preference (vllm docs, load format auto): the first kind that a repository has.
WEIGHT_SUFFIXES: Final = (".safetensors", ".bin", ".pt")


def resolve_model(model_id: str, revision: str | None = None, *, endpoint: str | None = None) -> Model:
    """Return the model at the current commit of `revision` (branch, tag, commit; None: the default branch).

    Raises HubError, one sentence, if the hub is unreachable, does not know the model or revision, or does not show it
    to this user. The caller may then use pinned values; their `source` is `pinned`, here it is `hub`.
    """
    asked = f"{model_id} at {revision or 'its default branch'}"
    url = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    found = _ask(url, model_id, revision, asked)
    kind, sizes = _weight_sizes(found.siblings or ())
    if not found.sha or not sizes:
        raise HubError(
            f"The hub at {url} knows {asked}, but lists no weight files ({', '.join(WEIGHT_SUFFIXES)}) with their "
            "sizes: name a repository that contains the model itself."
        )
    return Model(model_id, found.sha, sum(sizes), max(sizes), source="hub", weight_format=kind)


def _ask(url: str, model_id: str, revision: str | None, asked: str) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return HfApi(endpoint=url).model_info(model_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    except GatedRepoError as error:
        why = "the model is gated; accept its licence on the hub and set HF_TOKEN"
        raise HubError(f"The hub at {url} does not show {asked}: {why}.") from error
    except RepositoryNotFoundError as error:
        why = "no such model, or it is private and HF_TOKEN is missing"
        raise HubError(f"The hub at {url} does not show {asked}: {why}.") from error
    except RevisionNotFoundError as error:
        raise HubError(f"The hub at {url} has no such revision: {asked}. Name a branch, tag or commit.") from error
    except HFValidationError as error:
        raise HubError(f"{model_id!r} is not a model name of the hub: {error}") from error
    except HfHubHTTPError as error:
        raise HubError(f"The hub at {url} could not be queried for {asked}: {error}") from error
    except Exception as error:
        # The library's HTTP client (httpx, later httpx2) raises its own classes for refused connections and time-outs.
        detail = " ".join(str(error).split()) or type(error).__name__
        raise HubError(
            f"The hub at {url} could not be queried for {asked}: {detail}. Check HF_ENDPOINT and the network."
        ) from error


def _weight_sizes(files: Any) -> tuple[str, list[int]]:
    """Return the kind of the weight files that vLLM would load, and their sizes; none where a size is not known."""
    for suffix in WEIGHT_SUFFIXES:
        named = [file for file in files if file.rfilename.endswith(suffix) and "/" not in file.rfilename]
        # Mistral's repositories contain the weights twice; vLLM skips the consolidated copy (weight_utils.py, 0.10).
        parts = [file for file in named if not file.rfilename.startswith("consolidated")]
        found = [file.size for file in parts or named]
        if found:
            return suffix.removeprefix("."), found if all(size is not None for size in found) else []
    return "", []
