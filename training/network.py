"""The paper's CNN: blocks of convolution, ReLU, pooling and batch normalisation, then dropout and one neuron."""

from typing import Any

import keras

from training.preset import Preset


def build_network(preset: Preset) -> keras.Model:
    """Build the untrained network: uint8 or float32 `[N, S, S, 3]` in 0..255 -> logit float32 `[N]`.

    Scaling to 0..1 is its first layer, so that whoever runs it hands it the bytes of the pixels.
    """
    image = keras.Input((preset.size, preset.size, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
    for block, filters in enumerate(preset.filters, start=1):
        x = _block(x, filters, preset.kernel, f"block{block}")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dropout(preset.dropout, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    return keras.Model(image, keras.layers.Reshape((), name="squeeze")(logit), name="glasses")


def with_probability(network: keras.Model) -> keras.Model:
    """Wrap a trained network as it is shipped: `{glasses_probability, glasses_logit}`, each float32 `[N]`."""
    logit = network.output
    probability = keras.layers.Activation("sigmoid", name="probability")(logit)
    return keras.Model(network.input, {"glasses_probability": probability, "glasses_logit": logit}, name="glasses")


def _block(x: Any, filters: int, kernel: int, name: str) -> Any:
    x = keras.layers.Conv2D(filters, kernel, padding="same", activation="relu", name=f"{name}_convolution")(x)
    x = keras.layers.MaxPooling2D(2, name=f"{name}_pooling")(x)
    # The default momentum averages over 100 batches: more than an epoch here, so that validation would lag behind.
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalisation")(x)
