"""The service under load, compared with the bare cores and with other model servers."""
