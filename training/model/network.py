"""The paper's CNN: blocks of convolution, ReLU, pooling and batch normalisation, then dropout and one neuron."""

from typing import Any

import keras
import tensorflow as tf

from training.model.preset import Preset

LOGIT_LAYER = "squeeze"


def build_network(preset: Preset) -> keras.Model:
    """Build the untrained network: uint8 or float32 `[N, S, S, 3]` in 0..255 -> logit float32 `[N]`.

    Its first layer scales to 0..1, so callers pass raw pixel bytes.
    """
    layers = keras.layers
    image = keras.Input((preset.size, preset.size, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    for block, filters in enumerate(preset.filters, start=1):
        x = _block(x, filters, preset, f"block{block}")
    head = layers.Flatten(name="flatten") if preset.head == "flatten" else layers.GlobalAveragePooling2D(name="average")
    x = layers.Dropout(preset.dropout, name="dropout")(head(x))
    if preset.dense:
        x = layers.Dense(preset.dense, activation="relu", name="dense")(x)
        x = layers.Dropout(preset.dropout, name="dense_dropout")(x)
    logit = layers.Dense(1, name="logit")(x)
    return keras.Model(image, layers.Reshape((), name=LOGIT_LAYER)(logit), name="glasses")


def as_shipped(network: keras.Model, *, temperature: float = 1.0, novelty: Any = None) -> keras.Model:
    """Wrap a trained network: `{glasses_probability, glasses_logit}`, and `novelty` where given, each float32 `[N]`.

    The logit is divided by the temperature. `novelty` is a symbolic tensor `[N]` of the network's own graph.
    """
    logit = keras.layers.Rescaling(1 / temperature, name="temperature")(network.output)
    answers = {"glasses_probability": keras.layers.Activation("sigmoid", name="probability")(logit)}
    answers["glasses_logit"] = logit
    if novelty is not None:
        answers["novelty"] = novelty
    return keras.Model(network.input, answers, name="glasses")


def block_outputs(network: keras.Model) -> list[Any]:
    """The feature maps at the end of each block, first to last: symbolic tensors `[N, h, w, filters]`."""
    return [layer.output for layer in network.layers if layer.name.endswith("_normalisation")]


def _block(x: Any, filters: int, preset: Preset, name: str) -> Any:
    layers = keras.layers
    pooling = layers.MaxPooling2D if preset.pooling == "max" else layers.AveragePooling2D
    x = layers.Conv2D(filters, preset.kernel, padding="same", activation="relu", name=f"{name}_convolution")(x)
    x = pooling(2, name=f"{name}_pooling")(x)
    return layers.BatchNormalization(
        # The default averages over 100 batches, more than an epoch here, so validation would lag behind.
        momentum=0.9,
        # With several devices, statistics must cover the whole batch, not the share of one device.
        synchronized=tf.distribute.get_strategy().num_replicas_in_sync > 1,
        name=f"{name}_normalisation",
    )(x)
