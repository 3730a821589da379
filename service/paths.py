"""The paths of the endpoints that decide: routes, limits, telemetry and metrics all compare them."""

DECISIONS = "/v1/decisions"
BATCH = "/v1/decisions/batch"
TRIALS = "/v1/trials"
INFER = "/v2/models/{name}/infer"
INFER_VERSION = "/v2/models/{name}/versions/{version}/infer"
