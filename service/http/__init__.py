"""HTTP below the endpoints: connections, bodies, responses, logs and traces of requests."""
