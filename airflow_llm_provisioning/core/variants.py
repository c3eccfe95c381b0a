"""Variants: named lists of treatments. An experiment file defines its own, or takes these.

`baseline` is always the empty one. `improved` is the origin's bundle, which differs by cloud only in how the image
reaches the node. `fast_download`, `baked_image` and `image_delivery` change one thing each.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.treatments.delivered import IMAGE_DELIVERY

BUILTIN_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        BASELINE: (),
        "fast_download": ("fast_download",),
        "baked_image": ("bake_packages",),
        "image_delivery": (IMAGE_DELIVERY,),
        "improved": ("fast_download", "bake_packages", IMAGE_DELIVERY),
    }
)
