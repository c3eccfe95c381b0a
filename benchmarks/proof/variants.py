"""The variants of the proofs: the built-in ones, and one for each treatment that is not among them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.variants import BUILTIN_VARIANTS

VARIANTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **BUILTIN_VARIANTS,
        "direct_loader": ("direct_loader",),
        "direct_loader_baked": ("direct_loader", "bake_packages"),
        "weights_stream": ("weights_stream",),
        "image_volume": ("image_volume",),
        "optimization_level_0": ("optimization_level_0",),
        "optimization_level_1": ("optimization_level_1",),
        "shared_weights": ("shared_weights",),
        "compile_cache": ("compile_cache",),
        "compile_cache_level_1": ("compile_cache", "optimization_level_1"),
        "ray_start_trim": ("ray_start_trim",),
        # What the treatments below are held against.
        "fast_baked": ("fast_download", "bake_packages"),
        "capacity_buffer": ("fast_download", "bake_packages", "capacity_buffer"),
        "capacity_buffer_object": ("fast_download", "bake_packages", "capacity_buffer_object"),
        "capacity_buffer_static": ("fast_download", "bake_packages", "capacity_buffer_static"),
        "buffered_parallel": ("bake_packages", "soci_parallel_pull", "capacity_buffer"),
        "buffered_streamed": ("bake_packages", "image_delivery", "capacity_buffer"),
        "streamed_early": ("fast_download", "bake_packages", "image_delivery", "early_node"),
        "early_node": ("fast_download", "bake_packages", "early_node"),
        "preloaded_disk": ("fast_download", "bake_packages", "preloaded_disk"),
        "peer_to_peer": ("fast_download", "peer_to_peer"),
        "peer_to_peer_baked": ("fast_download", "bake_packages", "peer_to_peer"),
        "parallel_pull": ("fast_download", "bake_packages", "soci_parallel_pull"),
    }
)
