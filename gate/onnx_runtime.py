"""Import ONNX Runtime with its telemetry off. Other modules import `onnxruntime` from here."""

import os

# From 1.29 on the official builds report to Microsoft, on Linux too: they write a device id below ~/.cache, resolve a
# host and delay the exit. The library reads this variable once, when it is loaded; `disable_telemetry_events` alone
# comes too late for the first report.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]

onnxruntime.disable_telemetry_events()
