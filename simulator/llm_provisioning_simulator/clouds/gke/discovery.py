"""Google's own descriptions of its APIs, as routes and body checks for the stand-ins.

The discovery documents ship inside google-api-python-client (googleapiclient/discovery_cache/documents): path, query
parameters and schemas of every method. A call that the document does not know, a field that its schema does not have
and an enum that it does not list are refused as Google refuses them, so a gateway cannot be wrong and still be
answered.

It knows no service's behaviour. It reads the documents as files; the Google client itself is never imported.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from airflow_llm_provisioning.exceptions import MissingExtraError

# The REST transport of Google's generated clients sends enums as numbers ($alt=json;enum-encoding=int), which the
# documents do not list: the numbers are those of the proto files (google-cloud-container 2.67, -build 3.43,
# -artifact-registry 1.23). Schema.property -> number -> name; a number that is not here is refused.
ENUM_NUMBERS: Final[Mapping[str, Mapping[int, str]]] = {
    "NodeTaint.effect": {1: "NO_SCHEDULE", 2: "PREFER_NO_SCHEDULE", 3: "NO_EXECUTE"},
    "GPUDriverInstallationConfig.gpuDriverVersion": {1: "INSTALLATION_DISABLED", 2: "DEFAULT", 3: "LATEST"},
    "NodePoolAutoscaling.locationPolicy": {1: "BALANCED", 2: "ANY"},
    "SecondaryBootDisk.mode": {1: "CONTAINER_IMAGE_CACHE"},
    "BuildOptions.machineType": {
        1: "N1_HIGHCPU_8",
        2: "N1_HIGHCPU_32",
        5: "E2_HIGHCPU_8",
        6: "E2_HIGHCPU_32",
        7: "E2_MEDIUM",
        11: "E2_STANDARD_2",
    },
    "BuildOptions.logging": {
        1: "LEGACY",
        2: "GCS_ONLY",
        3: "STACKDRIVER_ONLY",
        4: "NONE",
        5: "CLOUD_LOGGING_ONLY",
    },
    "Repository.format": {
        1: "DOCKER",
        2: "MAVEN",
        3: "NPM",
        5: "APT",
        6: "YUM",
        8: "PYTHON",
        9: "KFP",
        10: "GO",
        11: "GENERIC",
    },
    "Repository.mode": {1: "STANDARD_REPOSITORY", 2: "VIRTUAL_REPOSITORY", 3: "REMOTE_REPOSITORY"},
}


class BadRequestError(ValueError):
    """What Google answers with 400 INVALID_ARGUMENT; the message is its sentence."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service. `body`: name of the request's schema; `parameters`: all query parameters it knows."""

    method_id: str
    verb: str
    pattern: re.Pattern[str] = field(repr=False)
    names: tuple[str, ...]
    parameters: frozenset[str] = field(repr=False)
    body: str | None


@dataclass(frozen=True, slots=True)
class Service:
    """One API as its document describes it."""

    name: str
    revision: str
    methods: Sequence[Method] = field(repr=False)
    schemas: Mapping[str, Any] = field(repr=False)

    def find(self, verb: str, raw_path: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method a request calls and its path's variables by the document's names, or None."""
        for method in self.methods:
            match = method.pattern.fullmatch(raw_path) if method.verb == verb else None
            if match:
                return method, dict(zip(method.names, map(unquote, match.groups()), strict=True))
        return None

    def check(self, method: Method, query: Mapping[str, str], body: Any) -> Any:
        """Return the body with known enum numbers spelled out; raise BadRequestError for what the document lacks."""
        for key in query:
            # `$alt` and friends are `alt` with a prefix that the generated clients use.
            if key.lstrip("$") not in method.parameters:
                raise BadRequestError(
                    f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter.'
                )
        if method.body is None:
            if body:
                raise BadRequestError(f"Request body is not allowed for {method.method_id}.")
            return None
        return self._object(method.body, body or {}, "")

    def _object(self, schema_name: str, value: Any, where: str) -> Any:
        properties = self.schemas[schema_name].get("properties", {})
        if not isinstance(value, dict):
            raise BadRequestError(f"Invalid value at '{where or schema_name}' ({schema_name}): an object is needed.")
        checked = {}
        for key, item in value.items():
            if key not in properties:
                raise BadRequestError(
                    f"Invalid JSON payload received. Unknown name \"{key}\" at '{where or schema_name}': "
                    "Cannot find field."
                )
            place = f"{where}.{key}".lstrip(".")
            checked[key] = self._value(f"{schema_name}.{key}", properties[key], item, place)
        return checked

    def _value(self, name: str, schema: Mapping[str, Any], value: Any, where: str) -> Any:
        if "$ref" in schema:
            return self._object(schema["$ref"], value, where)
        kind = schema.get("type")
        if kind == "array":
            if not isinstance(value, list):
                raise BadRequestError(f"Invalid value at '{where}': a list is needed.")
            return [self._value(name, schema["items"], item, f"{where}[{n}]") for n, item in enumerate(value)]
        if kind == "object":
            inner = schema.get("additionalProperties")
            if not isinstance(value, dict):
                raise BadRequestError(f"Invalid value at '{where}': an object is needed.")
            return {k: self._value(k, inner, v, f"{where}.{k}") if inner else v for k, v in value.items()}
        return _scalar(name, schema, value, where)


def _scalar(name: str, schema: Mapping[str, Any], value: Any, where: str) -> Any:
    kind = str(schema.get("type"))
    if kind == "string" and "enum" in schema:
        return _enum(name, schema["enum"], value, where)
    accepted: Mapping[str, tuple[type, ...]] = {
        "boolean": (bool,),
        "integer": (int,),
        "number": (int, float),
        # 64-bit numbers travel as strings; plain numbers are understood too.
        "string": (str, int) if schema.get("format") in {"int64", "uint64"} else (str,),
    }
    if kind in accepted and (not isinstance(value, accepted[kind]) or (isinstance(value, bool) and kind != "boolean")):
        raise BadRequestError(f"Invalid value at '{where}' ({kind}): {value!r}.")
    return value


def _enum(name: str, names: Sequence[str], value: Any, where: str) -> Any:
    """Return an enum's name. `name`: schema and property; `names`: those the document lists."""
    numbered = isinstance(value, int) and not isinstance(value, bool)
    known = ENUM_NUMBERS.get(name, {}).get(value) if numbered else value
    if known in names:
        return known
    raise BadRequestError(f"Invalid value at '{where}' (enum): {value!r}.")


@cache
def service(name: str) -> Service:
    """Return the API `name` (`container.v1`, ...) as google-api-python-client ships it."""
    spec = find_spec("googleapiclient")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"The Google stand-in takes the routes of {name} from google-api-python-client, which is not installed: "
            "install airflow-llm-provisioning[google]."
        )
    path = Path(spec.submodule_search_locations[0]) / "discovery_cache" / "documents" / f"{name}.json"
    document = json.loads(path.read_text())
    prefix = f"/{document.get('servicePath', '')}"
    methods = list(_methods(document, frozenset(document.get("parameters", {})), prefix))
    # `clusters/x:update` must be tried before `clusters/{x}`.
    methods.sort(key=lambda method: not re.search(r":\w+$", method.pattern.pattern))
    return Service(name, document["revision"], methods, document["schemas"])


def _methods(node: Mapping[str, Any], common: frozenset[str], prefix: str) -> Sequence[Method]:
    found: list[Method] = []
    for method in node.get("methods", {}).values():
        path = prefix + method.get("flatPath", method["path"])
        own = method.get("parameters", {})
        # Path parameters may also come as query parameters where the flat path splits them.
        parameters = common | frozenset(own)
        pattern = re.compile("".join(_part(part) for part in re.split(r"(\{\w+\})", path)))
        names = tuple(re.findall(r"\{(\w+)\}", path))
        found.append(
            Method(
                method["id"], method["httpMethod"], pattern, names, parameters, method.get("request", {}).get("$ref")
            )
        )
    for resource in node.get("resources", {}).values():
        found += _methods(resource, common, prefix)
    return found


def _part(part: str) -> str:
    return "([^/]+)" if part.startswith("{") else re.escape(part)
