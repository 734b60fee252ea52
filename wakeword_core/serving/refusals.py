"""A refusal, in one format: application/problem+json, as in RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from wakeword_core.serving.answers import Problem

MEDIA_TYPE = "application/problem+json"


class RefusedError(Exception):
    """A request is refused; the client gets the problem."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, dict(headers or {})

    def response(self) -> Response:
        """Make the response that tells the client the problem."""
        title = HTTPStatus(self.status).phrase
        problem = Problem(type="about:blank", title=title, status=self.status, code=self.code, detail=self.detail)
        return JSONResponse(problem.model_dump(), self.status, self.headers, MEDIA_TYPE)
