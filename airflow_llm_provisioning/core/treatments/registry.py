"""Which treatments are installed: this package's own, and those that other distributions add.

Another distribution names a treatment by an entry point of the group `llm_provisioning.treatments`: an instance, or a
class without arguments. Its package is imported when a treatment is first asked for. One that cannot be imported, or is
not of the contract's shape, is kept with its reason, and only a variant that names it fails (`guarded` for what goes
wrong later). A name of this package's own cannot be taken.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any, Final

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
from airflow_llm_provisioning.core.treatments.guarded import guarded, misshapen
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
    found, broken, _ = _installed()
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


def ignored_treatments() -> Mapping[str, str]:
    """Return the entry points that take a name of this package's own: name -> why they have no effect, a sentence."""
    return _installed()[2]


def forget_installed() -> None:
    """Look for entry points anew at the next question (after a distribution was installed into a running process)."""
    forget_plug_ins()
    _installed.cache_clear()


@cache
def _installed() -> tuple[Mapping[str, Treatment], Mapping[str, str], Mapping[str, str]]:
    own: Mapping[str, Treatment] = {item.name: item for item in OWN}
    taken = {**dict.fromkeys((item.group for item in OWN if item.group), "group of treatments")}
    taken |= dict.fromkeys(own, "treatment")
    found = dict(own)
    broken: dict[str, str] = {}
    ignored: dict[str, str] = {}
    named: dict[str, list[EntryPoint]] = {}
    for entry in plug_ins(GROUP):
        named.setdefault(entry.name, []).append(entry)
    for name, entries in sorted(named.items()):
        if name in taken:
            origins = " and ".join(sorted(map(_origin, entries)))
            ignored[name] = (
                f"{name} is a {taken[name]} of this package itself, and {origins} has no effect: give it another name."
            )
            continue
        loaded = _loaded(entries[0], own) if len(entries) == 1 else _ambiguous(entries)
        if isinstance(loaded, str):
            broken[name] = loaded
        else:
            found[name] = loaded
    ordered = dict(sorted(found.items(), key=lambda pair: (pair[1].order, pair[0])))
    return MappingProxyType(ordered), MappingProxyType(broken), MappingProxyType(ignored)


def _loaded(entry: EntryPoint, own: Mapping[str, Treatment]) -> Treatment | str:
    """Return the treatment of an entry point, or one sentence that says what is wrong with it."""
    try:
        loaded = entry.load()
        item = loaded() if isinstance(loaded, type) else loaded
        wrong = _problem(entry, item, own)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others; its failure is told where it is used
        told = one_line(str(error), 300).rstrip(".")
        return f"{_origin(entry)} could not be imported: {type(error).__name__}: {told}."
    return wrong or guarded(item, f"Treatment {entry.name!r}, {_origin(entry)},")


def _problem(entry: EntryPoint, item: Any, own: Mapping[str, Treatment]) -> str | None:
    """Return what of an object is not as the contract says, or None."""
    missing = [name for name in _CONTRACT if not hasattr(item, name)]
    if missing:
        return f"{_origin(entry)} is no treatment: it lacks {', '.join(missing)}."
    if item.name != entry.name or not _NAME.fullmatch(item.name):
        return (
            f"{_origin(entry)} calls itself {item.name!r}: entry point and treatment must have one name, of lower-case "
            "letters, digits and underscores."
        )
    if wrong := misshapen(item):
        return f"{_origin(entry)} is not as the contract says: {'; '.join(wrong)}."
    if item.group in own:
        return f"{_origin(entry)} names the group {item.group!r}, and a treatment has that name: name another group."
    return None


def _ambiguous(entries: Sequence[EntryPoint]) -> str:
    origins = " and ".join(sorted(map(_origin, entries)))
    if len({entry.dist.name if entry.dist is not None else "?" for entry in entries}) == 1:
        return f"one distribution names several, {origins}: it must name one."
    return f"several installed distributions name one, {origins}: remove all but one."


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "?"
    return f"entry point {entry.name!r} of distribution {package!r} ({entry.value})"


_CONTRACT: Final = (
    *("name", "group", "clouds", "order", "steps", "claims", "keeps_warm", "looks_at"),
    *("requires", "on_cluster", "change", "companions", "nodes", "verify", "kept", "undeclared"),
)
