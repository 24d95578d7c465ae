"""What an API's caller did wrong, as the answer that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError


class RequestError(VisionEdgeError):
    """Ends a request with a status and `{"error": {"code", "what", "fix"}}`.

    Args:
        status: HTTP status, 400 to 503.
        code: One word for programs.
        what: What failed, in a sentence.
        fix: What to do about it.
        more: Further members of the answer.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        fix: str,
        *,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, fix=fix)
        self.status, self.code = status, code
        self.more = dict(more or {})
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Return the answer's JSON values."""
        return {"error": {"code": self.code, "what": self.what, "fix": self.fix}, **self.more}
