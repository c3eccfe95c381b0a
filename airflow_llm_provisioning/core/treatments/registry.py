"""Which treatments are installed: this package's own, and those that other distributions add.

Another distribution names a treatment by an entry point of the group `llm_provisioning.treatments`: an instance, or a
class without arguments. Its package is imported when a treatment is first asked for. One that cannot be imported is
kept with its reason, and only a variant that names it fails. A name of this package's own cannot be taken.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Final

from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.core.plug_ins import forget_plug_ins, plug_ins
from airflow_llm_provisioning.core.treatments.aks_artifact_streaming import AksArtifactStreaming
from airflow_llm_provisioning.core.treatments.bake_packages import BakePackages
from airflow_llm_provisioning.core.treatments.base import Treatment
from airflow_llm_provisioning.core.treatments.bottlerocket_snapshot import BottlerocketSnapshot
from airflow_llm_provisioning.core.treatments.capacity_buffer import CapacityBuffer
from airflow_llm_provisioning.core.treatments.capacity_buffer_object import CapacityBufferObject
from airflow_llm_provisioning.core.treatments.capacity_buffer_static import CapacityBufferStatic
from airflow_llm_provisioning.core.treatments.compile_cache import CompileCache
from airflow_llm_provisioning.core.treatments.direct_loader import DirectLoader
from airflow_llm_provisioning.core.treatments.early_node import EarlyNode
from airflow_llm_provisioning.core.treatments.fast_download import FastDownload
from airflow_llm_provisioning.core.treatments.gke_image_streaming import GkeImageStreaming
from airflow_llm_provisioning.core.treatments.image_volume import ImageVolume
from airflow_llm_provisioning.core.treatments.optimization_level import OptimizationLevel
from airflow_llm_provisioning.core.treatments.peer_to_peer import PeerToPeer
from airflow_llm_provisioning.core.treatments.preloaded_disk import PreloadedDisk
from airflow_llm_provisioning.core.treatments.ray_start_trim import RayStartTrim
from airflow_llm_provisioning.core.treatments.shared_weights import SharedWeights
from airflow_llm_provisioning.core.treatments.soci_parallel_pull import SociParallelPull
from airflow_llm_provisioning.core.treatments.weights_stream import WeightsStream
from airflow_llm_provisioning.exceptions import ConfigurationError

GROUP: Final = "llm_provisioning.treatments"
OWN: Final[tuple[Treatment, ...]] = (
    FastDownload(),
    BakePackages(),
    BottlerocketSnapshot(),
    GkeImageStreaming(),
    AksArtifactStreaming(),
    SociParallelPull(),
    PreloadedDisk(),
    EarlyNode(),
    CapacityBuffer(),
    CapacityBufferObject(),
    CapacityBufferStatic(),
    RayStartTrim(),
    OptimizationLevel(0),
    OptimizationLevel(1),
    DirectLoader(),
    WeightsStream(),
    ImageVolume(),
    SharedWeights(),
    CompileCache(),
    PeerToPeer(),
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def known_treatments() -> Mapping[str, Treatment]:
    """Return every treatment that can be used: name -> treatment, in the order they are applied."""
    return _installed()[0]


def find_treatment(name: str) -> Treatment | None:
    """Return a treatment by name, or None where this installation does not know it."""
    return known_treatments().get(name)


def treatment(name: str) -> Treatment:
    """Return a treatment by name, or say why there is none."""
    found, broken = _installed()
    if name in found:
        return found[name]
    if name in broken:
        raise ConfigurationError(f"Treatment {shown(name)} cannot be used: {broken[name]}")
    raise ConfigurationError(f"Treatment {shown(name)} is unknown{nearest(name, (*found, *groups()))}.")


def groups() -> Mapping[str, tuple[Treatment, ...]]:
    """Return the groups of alternatives: name -> members."""
    found: dict[str, tuple[Treatment, ...]] = {}
    for item in known_treatments().values():
        if item.group:
            found[item.group] = (*found.get(item.group, ()), item)
    return found


def forget_installed() -> None:
    """Look for entry points anew at the next question (after a distribution was installed into a running process)."""
    forget_plug_ins()
    _installed.cache_clear()


@cache
def _installed() -> tuple[Mapping[str, Treatment], Mapping[str, str]]:
    own: Mapping[str, Treatment] = {item.name: item for item in OWN}
    found = dict(own)
    broken: dict[str, str] = {}
    named: dict[str, list[EntryPoint]] = {}
    for entry in plug_ins(GROUP):
        named.setdefault(entry.name, []).append(entry)
    for name, entries in sorted(named.items()):
        if name in own:
            continue
        loaded = _loaded(entries[0]) if len(entries) == 1 else _ambiguous(entries)
        if isinstance(loaded, str):
            broken[name] = loaded
        else:
            found[name] = loaded
    ordered = dict(sorted(found.items(), key=lambda pair: (pair[1].order, pair[0])))
    return MappingProxyType(ordered), MappingProxyType(broken)


def _loaded(entry: EntryPoint) -> Treatment | str:
    """Return the treatment of an entry point, or one sentence that says what is wrong with it."""
    try:
        loaded = entry.load()
        item: Treatment = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # noqa: BLE001 - code of others; its failure is told where the treatment is used
        return (
            f"{_origin(entry)} could not be imported: {type(error).__name__}: {one_line(str(error), 300).rstrip('.')}."
        )
    missing = [name for name in _CONTRACT if not hasattr(item, name)]
    if missing:
        return f"{_origin(entry)} is no treatment: it lacks {', '.join(missing)}."
    if item.name != entry.name or not _NAME.fullmatch(item.name):
        return (
            f"{_origin(entry)} calls itself {item.name!r}: entry point and treatment must have one name, of lower-case "
            "letters, digits and underscores."
        )
    return item


def _ambiguous(entries: Iterable[EntryPoint]) -> str:
    origins = " and ".join(sorted(_origin(entry) for entry in entries))
    return f"several installed distributions name one, {origins}: remove all but one."


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "?"
    return f"entry point {entry.name!r} of distribution {package!r} ({entry.value})"


_CONTRACT: Final = (
    *("name", "group", "clouds", "order", "steps", "claims", "keeps_warm", "looks_at"),
    *("requires", "on_cluster", "change", "companions", "nodes", "verify", "kept", "undeclared"),
)
