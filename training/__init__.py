"""Offline: labelled faces -> TFRecords -> Keras CNN -> ONNX and its card. Only this package imports TensorFlow."""

import os

# TensorFlow reads its log level once, when it is imported: 1 omits its notes about the processor and its libraries and
# keeps warnings and errors. Worker processes inherit the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
