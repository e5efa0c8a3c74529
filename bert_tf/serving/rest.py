"""TF Serving's REST API for one version of one model, as an ASGI application.

Source: `HttpRestApiHandler` in tensorflow_serving/model_servers, whose paths, bodies
and codes these are.
"""

import asyncio
import html
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bert_tf.errors import DataError
from bert_tf.serving.batching import Batcher, QueueFull
from bert_tf.serving.json_tensors import (
    Limits,
    PredictRequest,
    format_answer,
    parse_request,
)
from bert_tf.serving.saved_model import SavedModel

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/0*(?P<version>[0-9]+))?"
_MODEL_PATH = re.compile(f"{_MODEL}(?P<more>/metadata)?")
_VERB_PATH = re.compile(f"{_MODEL}:(?P<verb>predict|classify|regress)")

# How many bodies of the largest size may be in memory.
_BODIES_AT_ONCE = 16
# How long a client may take to send one.
_BODY_SECONDS = 60
# Bodies of more bytes, and answers of more values, are not worked on between other
# requests but beside them.
_LARGE_BODY = 2**15
_LARGE_ANSWER = 2**12

_LONGEST_MESSAGE = 500

# All of the page is in one file, and it talks to nobody else.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Service:
    """A model behind TF Serving's REST API.

    Args:
      model: The model.
      name: What it is called in paths.
      batcher: Runs its requests.
      limits: What a request may hold.
      max_body_bytes: How long its body may be.

    Attributes:
      app: The ASGI application.
      closing: Set when there will be no more requests on a connection.
    """

    def __init__(
        self,
        model: SavedModel,
        name: str,
        batcher: Batcher,
        limits: Limits,
        max_body_bytes: int,
    ):
        self.closing = False
        self._name = name
        self._version = model.version
        self._signatures = model.signatures
        self._metadata = _metadata(name, model)
        self._page = _page(name)
        self._batcher = batcher
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._bytes_held = 0
        self._most_bytes_held = _BODIES_AT_ONCE * max_body_bytes
        self.app = Starlette(
            routes=[
                Route("/", self._show_page),
                Route("/healthz", self._health),
                Route("/v1/{path:path}", self._answer, methods=_METHODS),
            ],
            exception_handlers={
                HTTPException: self._refuse,
                DataError: self._refuse,
                Exception: self._fail,
            },
        )

    async def _show_page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=_PAGE_HEADERS)

    async def _health(self, request: Request) -> Response:
        return self._response({"status": "ok"})

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if request.method == "POST" and (asked := _VERB_PATH.fullmatch(path)):
            if not self._is_this(asked):
                name, version = asked["name"], asked["version"]
                which = f"Specific({name}, {version})" if version else f"Latest({name})"
                raise HTTPException(404, f"Servable not found for request: {which}")
            if asked["verb"] != "predict":
                raise DataError(
                    f"Expected :predict, got :{asked['verb']}, which no signature of "
                    "this model is for; send its inputs to :predict."
                )
            return await self._predict(request)
        if request.method == "GET" and (asked := _MODEL_PATH.fullmatch(path)):
            if not self._is_this(asked):
                version = asked["version"]
                which = f"version {version}" if version else "any versions"
                raise HTTPException(
                    404, f"Could not find {which} of model {asked['name']}"
                )
            return self._response(self._metadata if asked["more"] else self._status())
        raise DataError(f"Malformed request: {request.method} {path}")

    def _is_this(self, asked: re.Match) -> bool:
        """Returns whether a path names this model, and if a version, this one."""
        version = asked["version"] or str(self._version)
        return asked["name"] == self._name and version == str(self._version)

    def _status(self) -> dict[str, Any]:
        status = {
            "version": str(self._version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return {"model_version_status": [status]}

    async def _predict(self, request: Request) -> Response:
        try:
            asked = await self._asked(request)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody will see
        try:
            future = self._batcher.submit(asked.signature, asked.inputs)
        except QueueFull:
            raise _busy(
                "Expected room in the queue of requests, found it full"
            ) from None
        outputs = await asyncio.wrap_future(future)
        if sum(array.size for array in outputs.values()) > _LARGE_ANSWER:
            content = await asyncio.to_thread(format_answer, outputs, asked.by_row)
        else:
            content = format_answer(outputs, asked.by_row)
        return self._response(content)

    async def _asked(self, request: Request) -> PredictRequest:
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await self._read(request, body)
            arguments = (body, self._signatures, self._limits)
            if len(body) > _LARGE_BODY:
                return await asyncio.to_thread(parse_request, *arguments)
            return parse_request(*arguments)
        except TimeoutError:
            raise HTTPException(
                408, f"Expected all of the body within {_BODY_SECONDS} seconds."
            ) from None
        finally:
            self._bytes_held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        """Reads a body, of which too long ones take no memory, nor do too many."""
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > self._max_body_bytes:
                # Read on: some clients see no answer before they have sent all.
                self._bytes_held -= len(body)
                body.clear()
            elif self._bytes_held + len(piece) > self._most_bytes_held:
                raise _busy("Expected fewer bytes at a time from all clients")
            else:
                body += piece
                self._bytes_held += len(piece)
        if size > self._max_body_bytes:
            raise HTTPException(
                413,
                f"Expected a body of at most {self._max_body_bytes} bytes, got {size}; "
                "send fewer texts at a time.",
            )

    async def _refuse(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return self._error(error.detail, error.status_code, error.headers)
        return self._error(str(error), 400)

    async def _fail(self, request: Request, error: Exception) -> Response:
        # Starlette raises it again, to be logged.
        return self._error(f"The model failed: {error}", 500)

    def _error(
        self, message: str, status: int, headers: Mapping[str, str] | None = None
    ) -> Response:
        # A path may be of any length.
        return self._response({"error": message[:_LONGEST_MESSAGE]}, status, headers)

    def _response(
        self,
        content: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        more = {**(headers or {}), **({"Connection": "close"} if self.closing else {})}
        if isinstance(content, bytes):
            return Response(content, status_code, more, "application/json")
        return JSONResponse(content, status_code, more)


def _busy(message: str) -> HTTPException:
    return HTTPException(503, f"{message}; try again later.", {"Retry-After": "1"})


def _page(name: str) -> str:
    """Returns the page on which people try the model; it asks the paths below /v1."""
    page = resources.files("bert_tf.serving").joinpath("page.html").read_text("utf-8")
    return page.replace("{{model_name}}", html.escape(name))


def _metadata(name: str, model: SavedModel) -> dict[str, Any]:
    """Returns TF Serving's account of a model's signatures."""
    signatures = {
        key: MessageToDict(
            signature,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for key, signature in model.signature_defs.items()
    }
    return {
        "model_spec": {
            "name": name,
            "signature_name": "",
            "version": str(model.version),
        },
        "metadata": {"signature_def": {"signature_def": signatures}},
    }
