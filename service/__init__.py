"""The online service: HTTP in, admission, decoding, natural batching, a decision out."""

import contextlib
import importlib
import os

# prometheus_client reads these when it is first imported, and would then keep all values in files of that folder, whose
# counts survive a restart. The workers add their metrics themselves.
for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(_name, None)

# FastAPI imports this module, which raises for a name that no installed package knows. Traces read the variable later.
if _names := os.environ.pop("OTEL_PROPAGATORS", None):
    with contextlib.suppress(ModuleNotFoundError):  # Commands that need no FastAPI run without it.
        importlib.import_module("opentelemetry.propagate")
    os.environ["OTEL_PROPAGATORS"] = _names
