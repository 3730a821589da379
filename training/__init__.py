"""Offline: labelled faces -> TFRecords -> Keras CNN -> ONNX and its card. Only this package imports TensorFlow."""

import os

# Keras reads the defaults of layers from ~/.keras/keras.json, where other projects change them, and these variables
# change the backend and the number of epochs. matplotlib does not start with a backend that it does not know.
for _name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
    os.environ.pop(_name, None)
os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
