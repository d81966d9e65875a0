"""The routes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from localchat import __version__
from localchat.errors import LocalchatError
from localchat.server.access import Access
from localchat.server.answering import Answering
from localchat.server.gate import LOG, Gate
from localchat.server.limits import Limits
from localchat.server.metrics import Metrics
from localchat.server.models import Held, Models, Served
from localchat.server.page import POLICY, page
from localchat.server.refusal import Refusal, error_body, refusal_of
from localchat.server.wire.chat import ChatRequest, ChatWire
from localchat.server.wire.completions import CompletionRequest, CompletionWire
from localchat.server.wire.embeddings import EmbeddingsRequest, told
from localchat.server.wire.messages import CountRequest, MessagesRequest, MessagesWire
from localchat.server.wire.response_events import ResponseWire
from localchat.server.wire.responses import ResponsesRequest, Shelf, about, said_in
from localchat.text import one_line

CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request"}
FIELD_CHARACTERS, FRAMES = 80, 6


class Server:
    """The application and what belongs to it."""

    def __init__(self, models: Models, access: Callable[[], Access], limits: Limits) -> None:
        self.metrics, self.models = Metrics(), models
        self.answering = Answering(models, limits, self.metrics)
        self.api = _api(self.answering)
        self.app = Gate(self.api, access, limits, self.metrics)


def _api(answering: Answering) -> FastAPI:
    api = FastAPI(title="localchat", version=__version__, docs_url=None, redoc_url=None)
    api.add_exception_handler(LocalchatError, _refused)
    api.add_exception_handler(HTTPException, _failed)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Exception, _broken)
    _add_facts(api, answering)
    _add_chat(api, answering)
    _add_completions(api, answering)
    _add_messages(api, answering)
    _add_responses(api, answering, Shelf())
    return api


def _add_facts(api: FastAPI, answering: Answering) -> None:
    models = answering.models

    @api.get("/health")
    async def health() -> dict[str, str]:
        """Is the server there? Needs no token."""
        return {"status": "ok"}

    @api.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Counts of requests, replies and tokens, in the text format of Prometheus."""
        loaded = models.loaded()
        names = {served.name: served.name in loaded for served in models.offered()}
        turns = answering.turns
        return PlainTextResponse(answering.metrics.text(turns.writing, turns.waiting, names))

    @api.get("/docs", response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        """This page."""
        return HTMLResponse(page(api.openapi()), headers={"content-security-policy": POLICY})

    @api.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """The models that can be asked for. Those that are in memory say how much context they were given."""
        loaded = models.loaded()
        return {"object": "list", "data": [_model(served, loaded.get(served.name)) for served in models.offered()]}

    @api.get("/v1/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        """One of them."""
        served = models.served(name)
        return _model(served, models.loaded().get(served.name))


def _add_chat(api: FastAPI, answering: Answering) -> None:
    @api.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request, body: ChatRequest) -> Response:
        """OpenAI's chat completions."""
        is_stream = bool(body.stream)
        options = body.stream_options
        wire = ChatWire(body.model, tells_usage=not is_stream or bool(options and options.include_usage))
        served = answering.models.served(body.model)
        client = client_of(request, body.user)
        return await answering.answer(request, client, served, body.ask(), wire, is_stream=is_stream)


def _add_completions(api: FastAPI, answering: Answering) -> None:
    @api.post("/v1/completions", response_model=None)
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """OpenAI's completions: what the model writes behind a text, without a conversation."""
        is_stream = bool(body.stream)
        tells_usage = not is_stream or bool(body.stream_options and body.stream_options.include_usage)
        served, ask = answering.models.served(body.model), body.ask()
        wire = CompletionWire(body.model, tells_usage=tells_usage, echoed=body.echoed)
        client = client_of(request, body.user)
        return await answering.answer(request, client, served, ask, wire, is_stream=is_stream)

    @api.post("/v1/embeddings", response_model=None)
    async def embeddings(request: Request, body: EmbeddingsRequest) -> Response:
        """OpenAI's embeddings: texts, or their tokens, as vectors of length 1."""
        served, texts = answering.models.served(body.model), body.texts()
        found = await answering.vectors(request, client_of(request, body.user), served, texts, body.dimensions)
        return Response(told(body.model, found, body.encoding_format or "float"), media_type="application/json")


def _add_messages(api: FastAPI, answering: Answering) -> None:
    @api.post("/v1/messages", response_model=None)
    async def messages(request: Request, body: MessagesRequest) -> Response:
        """Anthropic's messages."""
        served, wire = answering.models.served(body.model), MessagesWire(body.model, body.stop_sequences or ())
        client = client_of(request, body.user)
        return await answering.answer(request, client, served, body.ask(), wire, is_stream=bool(body.stream))

    @api.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request, body: CountRequest) -> dict[str, int]:
        """How many tokens such a request to Anthropic's messages has."""
        served = answering.models.served(body.model)
        return {"input_tokens": await answering.tokens(request, client_of(request, body.user), served, body.ask())}


def _add_responses(api: FastAPI, answering: Answering, shelf: Shelf) -> None:
    @api.post("/v1/responses", response_model=None)
    async def responses(request: Request, body: ResponsesRequest) -> Response:
        """OpenAI's responses. Answers are kept in memory for a while, so that a later request can go on from them."""
        served = answering.models.served(body.model)
        previous = body.previous_response_id
        before = shelf.find(previous, "previous_response_id").messages if previous else ()
        ask = body.ask(before)

        def keep(answer: dict[str, Any]) -> None:
            if body.store is not False:
                shelf.keep((*before, *body.messages(), *said_in(answer)), answer)

        wire = ResponseWire(body.model, about(body), keep)
        client = client_of(request, body.user)
        return await answering.answer(request, client, served, ask, wire, is_stream=bool(body.stream))

    @api.get("/v1/responses/{name}")
    async def one_response(name: str) -> dict[str, Any]:
        """An answer that is kept."""
        return shelf.find(name).answer

    @api.delete("/v1/responses/{name}")
    async def forget_response(name: str) -> dict[str, Any]:
        """Forget an answer."""
        shelf.remove(name)
        return {"id": name, "object": "response", "deleted": True}


def client_of(request: Request, user: str | None) -> str:
    """In whose line a request waits: that of the user whom it names, or of where it comes from."""
    host = request.client.host if request.client else ""
    return f"{host} {user or ''}"


def _model(served: Served, engine: Held | None) -> dict[str, Any]:
    context = {"loaded_context_length": engine.loaded.context} if engine else {}
    return {"id": served.name, "object": "model", "created": served.made_at, "owned_by": "localchat", **context}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, LocalchatError), "it is registered for these"
    return _response(request, refusal_of(error))


async def _failed(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths and methods, bodies that are no JSON."""
    assert isinstance(error, HTTPException), "it is registered for these"
    code = CODES.get(error.status_code, "error")
    return _response(request, Refusal(error.status_code, code, one_line(str(error.detail), FIELD_CHARACTERS)))


async def _invalid(request: Request, error: Exception) -> Response:
    """A body that is not what the protocol wants: which field, and why, without what was in it."""
    assert isinstance(error, RequestValidationError), "it is registered for these"
    first = error.errors()[0]
    field = "" if first["type"] == "json_invalid" else one_line(_path(first["loc"]), FIELD_CHARACTERS)
    message = f"{field or 'the request'}: {_reason(first)}"
    return _response(request, Refusal(400, "invalid_request", message, param=field or None))


async def _broken(request: Request, error: Exception) -> Response:
    """A fault of ours: where it is goes to the log; what it says does not, because something asked may be in it."""
    places = traceback.extract_tb(error.__traceback__)
    LOG.error("%s: %s", type(error).__name__, " > ".join(f"{place.name}:{place.lineno}" for place in places[-FRAMES:]))
    return _response(request, Refusal(500, "internal_error", "the server failed; its log says where"))


def _path(places: Iterable[str | int]) -> str:
    """`messages[0].content` of a place in the body."""
    parts = [f"[{place}]" if isinstance(place, int) else f".{place}" for place in places if place != "body"]
    return "".join(parts).removeprefix(".")


def _reason(fault: Any) -> str:
    """Why, in words that are the library's own; a text that is no JSON may be repeated in them."""
    if fault["type"] == "json_invalid":
        return "it is no valid JSON"
    return one_line(str(fault["msg"]), 200)


def _response(request: Request, refusal: Refusal) -> Response:
    return JSONResponse(error_body(request.url.path, refusal), refusal.status, refusal.headers)
