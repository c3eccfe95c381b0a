"""The models that the simulated hub has: their revision, files and sizes, which also decide downloads on the nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model repository at one revision. `files`: name -> bytes; `.safetensors` files are weights (LFS).
    `cache_bytes_per_token`: of its KV cache, 0 where that is not known; `max_length`: its own context in tokens.
    """

    model_id: str
    revision: str
    files: Mapping[str, int]
    gated: bool = False
    cache_bytes_per_token: int = 0
    max_length: int = 0

    @property
    def weight_files(self) -> tuple[int, ...]:
        """Bytes of each weight file that vLLM loads, in the order of their names: safetensors, else PyTorch's."""
        kind = ".safetensors" if self.has_safetensors else ".bin"
        return tuple(size for name, size in sorted(self.files.items()) if name.endswith(kind))

    @property
    def has_safetensors(self) -> bool:
        """Whether its weights are in safetensors files."""
        return any(name.endswith(".safetensors") for name in self.files)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weight files."""
        return sum(self.weight_files)


# Several public repositories agree on the revision and the bytes of the weights; the small files' sizes are rounded.
PHI3: Final = HubModel(
    "microsoft/Phi-3-mini-4k-instruct",
    "f39ac1d28e925b323eae81227eaba4464caced4e",
    MappingProxyType(
        {
            ".gitattributes": 1_519,
            "README.md": 16_000,
            "added_tokens.json": 306,
            "config.json": 967,
            "configuration_phi3.py": 11_200,
            "generation_config.json": 181,
            "model-00001-of-00002.safetensors": 4_972_489_328,
            "model-00002-of-00002.safetensors": 2_669_692_552,
            "model.safetensors.index.json": 16_331,
            "modeling_phi3.py": 73_800,
            "special_tokens_map.json": 599,
            "tokenizer.json": 1_844_436,
            "tokenizer.model": 499_723,
            "tokenizer_config.json": 3_441,
        }
    ),
    # Its config.json: 32 layers, keys and values of 3072 numbers in bfloat16 each; max_position_embeddings.
    cache_bytes_per_token=32 * 2 * 3072 * 2,
    max_length=4096,
)
MODELS: Final[Mapping[str, HubModel]] = MappingProxyType({PHI3.model_id: PHI3})
