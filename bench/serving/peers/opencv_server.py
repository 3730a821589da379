"""OpenCV behind V2: a stand-in for OpenVINO Model Server, which no package index offers for installation by pip.

That server decodes the BYTES tensors of a V2 request with OpenCV in its C++ threads. Here decoding, shrinking and the
model run in as many threads of one process as there are cores, all outside the interpreter lock; requests are parsed
as far as the benchmark needs. It therefore costs less a request than a complete V2 server in Python, and more than one
in C++. Images are shrunk by area, as all contenders do; OpenVINO Model Server interpolates, which costs less and gives
another probability.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.serving.peers.model import CORES, PORT, Classifier, setting

_classify = Classifier()
_threads = ThreadPoolExecutor(setting("WORKERS", CORES))


async def infer(request: Request) -> JSONResponse:
    """One image, the only element of the BYTES tensor `image`, `[1, 1]`."""
    body = await request.body()
    start = int(request.headers["inference-header-content-length"])
    size = int(json.loads(body[:start])["inputs"][0]["parameters"]["binary_data_size"])
    element = body[start + 4 : start + size]  # Its length precedes it in 4 bytes.
    probability = await asyncio.get_running_loop().run_in_executor(_threads, _classify, element)
    output = {"name": "glasses_probability", "datatype": "FP32", "shape": [1, 1], "data": [probability]}
    return JSONResponse({"model_name": "glasses", "outputs": [output]})


if __name__ == "__main__":
    site = Starlette(routes=[Route("/v2/models/glasses/infer", infer, methods=["POST"])])
    uvicorn.run(site, host="127.0.0.1", port=PORT, loop="uvloop", http="httptools", log_level="warning")
