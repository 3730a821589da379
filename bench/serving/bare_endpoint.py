"""The minimal server for a tensor: a bare Starlette endpoint that reads the same body and returns the same JSON.

    python -m bench.serving.bare_endpoint PORT SIZE [RESPONSE]    # RESPONSE: a file with the JSON; or an example

It is the baseline of the V2 rows; its uvicorn is configured like the service's.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.serving.posts import INFER


def make_app(size: int, response: dict[str, Any] | None = None) -> Starlette:
    """Create the app; without `response` it returns an example for the images, uint8 `[size, size, 3]`, in the body."""

    async def infer(request: Request) -> JSONResponse:
        body = await request.body()
        if response is not None:
            return JSONResponse(response)
        header = int(request.headers["inference-header-content-length"])
        return JSONResponse(example_response((len(body) - header) // (size * size * 3)))

    return Starlette(routes=[Route(INFER, infer, methods=["POST"])])


@functools.cache
def example_response(count: int) -> dict[str, Any]:
    """Return a possible V2 response for `count` images."""
    outputs = {
        "glasses_probability": ("FP32", 0.9731),
        "novelty": ("FP32", -11.346122),
        "decision": ("BYTES", "accept"),
        "reason": ("BYTES", "confident"),
    }
    return {
        "model_name": "glasses",
        "model_version": "1",
        "outputs": [
            {"name": name, "datatype": kind, "shape": [count], "data": [value] * count}
            for name, (kind, value) in outputs.items()
        ],
    }


def main(port: int, size: int, response: Path | None = None) -> int:
    """Serve on 127.0.0.1; return the exit status."""
    app = make_app(size, json.loads(response.read_text()) if response else None)
    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False, server_header=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:4])))
