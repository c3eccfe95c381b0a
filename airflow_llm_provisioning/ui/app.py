"""The web application of the page. Every route asks Airflow for the user; without Airflow's check nothing is served."""

from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_llm_provisioning.exceptions import ConfigurationError, MissingStoreError, ProvisioningError
from airflow_llm_provisioning.report.markup import element, html

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A results store that cannot be read is not this server's fault, and may be there a minute later.
STORE_UNREADABLE: Final = 503
WRONG_REQUEST: Final = 422


class SecurityHeaders:
    """Sets the headers of `HEADERS` on every answer, and forbids to keep what does not say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def build_app() -> FastAPI:
    """Return the application. Where Airflow lacks what checks a user, it refuses every request."""
    app = FastAPI(title="LLM deployments", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(ProvisioningError, _not_possible)
    try:
        from airflow_llm_provisioning.ui.routes import router
    except ImportError as error:
        _refuse_everything(app, str(error))
    else:
        app.include_router(router)
    return app


def asset(name: str) -> bytes:
    """Return one of the page's own files, or raise 404. `report.css` is the report's."""
    if name == "report.css":
        return files("airflow_llm_provisioning.report").joinpath("page.css").read_bytes()
    found = files("airflow_llm_provisioning.ui").joinpath("assets")
    known = {item.name: item for item in found.iterdir() if item.is_file()}
    if name not in known:
        raise HTTPException(404, "There is no such file.")
    return known[name].read_bytes()


def _refuse_everything(app: FastAPI, why: str) -> None:
    text = f"The page cannot ask this Airflow who you are, so it shows nothing: {why}"

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def refuse(path: str) -> Response:
        return HTMLResponse(_message("Not available", text), STORE_UNREADABLE)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - registered for it only
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
    titles = {401: "Not logged in", 403: "No permission", 404: "Not found"}
    detail: Any = "Log in to Airflow, then open this page again." if error.status_code == 401 else str(error.detail)
    page = _message(titles.get(error.status_code, "Not possible"), detail)
    return HTMLResponse(page, error.status_code, headers=error.headers)


async def _not_possible(request: Request, error: Exception) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        from airflow_llm_provisioning.ui.layout import document, notice

        if isinstance(error, MissingStoreError):
            sentence = "There is no results store yet: the first preparation or trial creates it."
            return HTMLResponse(document("Nothing to show yet", notice(sentence)))
        return HTMLResponse(document("Not possible", notice(str(error), "alarm")), _status(error))
    return JSONResponse({"detail": str(error)}, _status(error))


def _status(error: Exception) -> int:
    return WRONG_REQUEST if isinstance(error, ConfigurationError) else STORE_UNREADABLE


def _message(title: str, text: str) -> str:
    """Return a page without assets, which only a logged-in user may load."""
    content = html([element("h1", title), element("p", text)])
    return f"<!doctype html>\n{element('html', element('body', content), lang='en')}\n"
