"""The networks: the paper's CNN, and two such towers whose logits are added.

The paper's CNN has blocks of convolution, ReLU, pooling and batch normalisation, then dropout and one neuron. Thin
frames need more pixels than it sees. With `band_filters`, a first tower sees the whole image at half the size, and a
second one the region of the eyes at full size. The second one ends in mean and maximum over the region, so that a
shifted face changes little; the first one ends in the `head` of the preset.

The towers learn apart, each from its own loss, so that their errors differ. On generators that neither has seen, the
first one errs three times as often, hence its smaller weight.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from training.model.preset import Preset

LOGIT_LAYER = "squeeze"
# The region in shares of the edge: the eyes of aligned portraits, and room for shifts.
EYE_ROWS = (0.25, 0.69)
EYE_COLUMNS = (0.05, 0.95)
WHOLE_WEIGHT = 0.3  # Of the first tower's logit; the second one's is 1.


def build_network(preset: Preset) -> keras.Model:
    """Build the untrained network: uint8 or float32 `[N, S, S, 3]` in 0..255 -> logit float32 `[N]`.

    Its first layer scales to 0..1, so callers pass raw pixel bytes.
    """
    image = keras.Input((preset.size, preset.size, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
    logit = _two_towers(x, preset) if preset.band_filters else _whole_tower(x, preset, name="logit")
    return keras.Model(image, keras.layers.Reshape((), name=LOGIT_LAYER)(logit), name="glasses")


def training_model(network: keras.Model) -> keras.Model:
    """Return the model to fit, with the layers of `network`: its logit `[N]`, or for two towers `[N, 3]`.

    The columns are the sum and the logits of both towers, for `logit_loss`.
    """
    towers = [layer.output for layer in network.layers if layer.name.endswith("_tower")]
    if not towers:
        return keras.Model(network.input, network.output, name="glasses")
    total = network.get_layer(LOGIT_LAYER).input
    return keras.Model(network.input, keras.layers.Concatenate(name="logits")([total, *towers]), name="glasses")


def logit_loss(labels: Any, logits: Any) -> Any:
    """Compute binary cross-entropy, float32 `[N]`, of logits `[N]`, or its mean over the towers in `[N, 3]`."""
    if logits.shape.rank == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(tf.reshape(labels, (-1,)), logits)
    towers = logits[:, 1:]
    expected = tf.broadcast_to(tf.reshape(labels, (-1, 1)), tf.shape(towers))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(expected, towers), axis=1)


def logit_accuracy(labels: Any, logits: Any) -> Any:
    """Compute whether the sign of each logit, or of the sum, equals the label: float32 `[N]`."""
    total = logits if logits.shape.rank == 1 else logits[:, 0]
    return tf.cast(tf.equal(total >= 0, tf.reshape(labels, (-1,)) > 0.5), tf.float32)


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
    return [layer.output for layer in network.layers if layer.name.endswith("_output")]


def _whole_tower(x: Any, preset: Preset, *, name: str) -> Any:
    layers = keras.layers
    for block, filters in enumerate(preset.filters, start=1):
        x = _block(x, filters, preset, f"block{block}")
    x = layers.Dropout(preset.dropout, name="dropout")(_HEADS[preset.head](x, ""))
    if preset.dense:
        x = layers.Dense(preset.dense, activation="relu", name="dense")(x)
        x = layers.Dropout(preset.dropout, name="dense_dropout")(x)
    return layers.Dense(1, name=name)(x)


def _two_towers(x: Any, preset: Preset) -> Any:
    layers = keras.layers
    whole = _whole_tower(layers.AveragePooling2D(2, name="half")(x), preset, name="whole_tower")
    weighted = layers.Rescaling(WHOLE_WEIGHT, name="weighted")(whole)
    return layers.Add(name="total")([weighted, _eye_tower(x, preset)])


def _eye_tower(x: Any, preset: Preset) -> Any:
    layers = keras.layers
    (top, bottom), (left, right) = (
        (round(low * preset.size), preset.size - round(high * preset.size)) for low, high in (EYE_ROWS, EYE_COLUMNS)
    )
    x = layers.Cropping2D(((top, bottom), (left, right)), name="band")(x)
    for block, filters in enumerate(preset.band_filters, start=1):
        x = _block(x, filters, preset, f"band{block}")
    x = layers.Dropout(preset.dropout, name="band_dropout")(_average_and_maximum(x, "band_"))
    return layers.Dense(1, name="band_tower")(x)


def _average_and_maximum(x: Any, prefix: str) -> Any:
    layers = keras.layers
    average = layers.GlobalAveragePooling2D(name=f"{prefix}average")(x)
    maximum = layers.GlobalMaxPooling2D(name=f"{prefix}maximum")(x)
    return layers.Concatenate(name=f"{prefix}pooled")([average, maximum])


_HEADS: Mapping[str, Callable[[Any, str], Any]] = {
    "flatten": lambda x, prefix: keras.layers.Flatten(name=f"{prefix}flatten")(x),
    "average": lambda x, prefix: keras.layers.GlobalAveragePooling2D(name=f"{prefix}average")(x),
    "average and maximum": _average_and_maximum,
}


def _block(x: Any, filters: int, preset: Preset, name: str) -> Any:
    layers = keras.layers
    pooling = layers.MaxPooling2D if preset.pooling == "max" else layers.AveragePooling2D
    if preset.normalisation == "after pooling":
        x = layers.Conv2D(filters, preset.kernel, padding="same", activation="relu", name=f"{name}_convolution")(x)
        return _normalisation(f"{name}_output")(pooling(2, name=f"{name}_pooling")(x))
    # The export merges this normalisation into the convolution.
    x = layers.Conv2D(filters, preset.kernel, padding="same", use_bias=False, name=f"{name}_convolution")(x)
    x = layers.ReLU(name=f"{name}_activation")(_normalisation(f"{name}_normalisation")(x))
    return pooling(2, name=f"{name}_output")(x)


def _normalisation(name: str) -> Any:
    return keras.layers.BatchNormalization(
        # The default averages over 100 batches, more than an epoch here, so validation would lag behind.
        momentum=0.9,
        # With several devices, statistics must cover the whole batch, not the share of one device.
        synchronized=tf.distribute.get_strategy().num_replicas_in_sync > 1,
        name=name,
    )
