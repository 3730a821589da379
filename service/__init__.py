"""The online service: HTTP in, admission, decoding, natural batching, a decision out."""

import os

# prometheus_client reads these when it is first imported, and would then keep all values in files of that folder, whose
# counts survive a restart. The workers add their metrics themselves.
for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(_name, None)
