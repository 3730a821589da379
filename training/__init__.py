"""Offline: labelled faces -> TFRecords -> a Keras CNN -> ONNX and its card. The only place that imports TensorFlow."""
