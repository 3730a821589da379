"""Offline: labelled faces -> TFRecords -> Keras CNN -> ONNX and its card. Only this package imports TensorFlow."""
