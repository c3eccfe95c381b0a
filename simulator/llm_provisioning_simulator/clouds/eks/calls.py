"""Reading an AWS request off the wire and writing AWS's kinds of answers. No state, no behaviour.

Query services (EC2, IAM, STS) name the action in a form, JSON services (SSM, CodeBuild, ECR) in a header, REST services
(EKS, S3) by method and path. The service is in the signature's scope, as moto reads it.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web

_SCOPE: Final = re.compile(r"Credential=[^/,\s]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
EC2_NAMESPACE: Final = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `service` and `region` from its signature, `action`, its parameters (form values or JSON)."""

    service: str
    region: str
    action: str
    form: dict[str, str]
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """The call as faults name it: `ec2.RunInstances`."""
        return f"{self.service}.{self.action}"

    def listed(self, prefix: str) -> list[str]:
        """Return a numbered form list, `InstanceId.1`, `InstanceId.2`, ..."""
        found = {int(key.rpartition(".")[2]): value for key, value in self.form.items() if _numbered(key, prefix)}
        return [found[number] for number in sorted(found)]

    def filters(self) -> dict[str, list[str]]:
        """Return EC2's Filter.n.Name / Filter.n.Value.m as name -> values."""
        found: dict[str, list[str]] = {}
        number = 1
        while f"Filter.{number}.Name" in self.form:
            found[self.form[f"Filter.{number}.Name"]] = self.listed(f"Filter.{number}.Value")
            number += 1
        return found


def read_call(request: web.Request, raw: bytes) -> Call:
    """Return what a request asks; an unsigned or REST request has the path as its action."""
    scope = _SCOPE.search(request.headers.get("Authorization", ""))
    service = scope["service"].lower() if scope else ""
    region = scope["region"] if scope else ""
    target = request.headers.get("X-Amz-Target", "")
    if target:
        return Call(service, region, target.rpartition(".")[2], {}, json.loads(raw or b"{}"))
    form = {key: values[0] for key, values in parse_qs(raw.decode(errors="replace")).items()}
    if "Action" in form:
        return Call(service, region, form["Action"], form, {})
    return Call(service, region, f"{request.method} {request.path}", {}, {})


def json_reply(content: Any, status: int = 200) -> web.Response:
    """Answer a JSON service."""
    return web.Response(
        body=json.dumps(content, default=_stamp).encode(), status=status, content_type="application/x-amz-json-1.1"
    )


def xml_reply(text: str, status: int = 200) -> web.Response:
    """Answer a query service."""
    return web.Response(text=text, status=status, content_type="text/xml")


def refusal(call: Call, code: str, message: str, status: int = 400) -> web.Response:
    """Refuse a call in the words of its kind of service."""
    if call.form:
        if call.service == "ec2":
            error = f"<Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
            return xml_reply(f"<Response>{error}<RequestID>simulated</RequestID></Response>", status)
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return xml_reply(f"<ErrorResponse>{error}<RequestId>simulated</RequestId></ErrorResponse>", status)
    if call.service == "s3":
        return xml_reply(f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>", status)
    reply = json_reply({"__type": code, "message": message}, status)
    reply.headers["x-amzn-ErrorType"] = code
    return reply


def iso(at: datetime) -> str:
    """Return an instant as EC2 and SSM write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _stamp(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{value!r} cannot be written as JSON")


def _numbered(key: str, prefix: str) -> bool:
    return key.startswith(f"{prefix}.") and key.rpartition(".")[2].isdigit() and key.rpartition(".")[0] == prefix
