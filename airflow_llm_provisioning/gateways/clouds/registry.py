"""Which clouds there are: those of this package, and those of other packages, found by an entry point.

A package of a third party offers a cloud by an entry point of the group `llm_provisioning.clouds`: its name is the
cloud's, its value leads to a CloudDescriptor. Nothing of a cloud but its descriptor is imported here.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Final

from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.core.plug_ins import plug_ins
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor

ENTRY_POINT_GROUP: Final = "llm_provisioning.clouds"
_OWN: Final = ("eks", "gke", "aks", "generic")


def known_clouds() -> tuple[str, ...]:
    """Return the names of all clouds: this package's, then those of other packages in alphabetical order."""
    return (*_OWN, *_of_other_packages())


def cloud_named(name: str) -> CloudDescriptor:
    """Return a cloud's descriptor; an unknown name raises a ConfigurationError that lists the known ones."""
    if name in _OWN:
        found: object = import_module(f"airflow_llm_provisioning.gateways.clouds.{name}").CLOUD
    else:
        found = _loaded(name)
    if not isinstance(found, CloudDescriptor) or found.name != name:
        raise ConfigurationError(
            f"The entry point {name!r} of {ENTRY_POINT_GROUP} leads to {found!r:.80}, not to a CloudDescriptor of that "
            "name: correct the package that offers it."
        )
    return found


def each_cloud() -> Iterator[CloudDescriptor]:
    """Give every cloud's descriptor; this package's first, without a look at other packages until they are due."""
    for name in _OWN:
        yield cloud_named(name)
    for name in _of_other_packages():
        yield cloud_named(name)


def cloud_of_connection_type(conn_type: str) -> CloudDescriptor | None:
    """Return the cloud whose clusters an Airflow connection of that type reaches; None where none does."""
    return next((cloud for cloud in each_cloud() if conn_type in cloud.connection_types), None)


def _of_other_packages() -> list[str]:
    return sorted({entry.name for entry in plug_ins(ENTRY_POINT_GROUP)} - set(_OWN))


def _loaded(name: str) -> object:
    found = [entry for entry in plug_ins(ENTRY_POINT_GROUP) if entry.name == name]
    if not found:
        raise ConfigurationError(f"Cloud {name!r} is unknown: choose one of {', '.join(known_clouds())}.")
    if len({entry.value for entry in found}) > 1:
        raise ConfigurationError(
            f"Cloud {name!r} is offered by more than one package ({_places(found)}): remove all but one."
        )
    try:
        return found[0].load()
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {one_line(str(error), 300).rstrip('.')}"
        raise ConfigurationError(f"Cloud {name!r} ({_places(found)}) cannot be loaded: {told}.") from error


def _places(found: list[EntryPoint]) -> str:
    return ", ".join(sorted(f"{entry.dist.name if entry.dist else '?'}: {entry.value}" for entry in found))
