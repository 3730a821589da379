"""The networks: the paper's CNN, and two such towers that must agree.

The paper's CNN has blocks of convolution, ReLU, pooling and batch normalisation, then dropout and one neuron. Thin
frames need more pixels than it sees. With `band_filters`, a first tower sees the whole image at half the size, and a
second one the band around the eyes at full size. The second one ends in mean and maximum over the band, so that a
shifted face changes little.
"""

from typing import Any

import keras
import tensorflow as tf

from training.model.preset import Preset

LOGIT_LAYER = "squeeze"
BAND_ROWS = (0.25, 0.69)  # The eye band in shares of the edge: the eyes of aligned portraits, and room for shifts.
BAND_COLUMNS = (0.05, 0.95)
LEAK = 0.1  # Share of the sum of both logits, so that the sign follows the more confident tower where they disagree.
TOWER_WEIGHTS = (0.4, 0.3, 0.3)  # Of the losses of the agreed logit and of each tower.


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

    The columns are the agreed logit and the logits of both towers, for `logit_loss`.
    """
    towers = [layer.output for layer in network.layers if layer.name.endswith("_tower")]
    if not towers:
        return keras.Model(network.input, network.output, name="glasses")
    agreed = network.get_layer(LOGIT_LAYER).input
    return keras.Model(network.input, keras.layers.Concatenate(name="logits")([agreed, *towers]), name="glasses")


def logit_loss(labels: Any, logits: Any) -> Any:
    """Compute binary cross-entropy, float32 `[N]`, of logits `[N]`, or `[N, 3]` weighted by `TOWER_WEIGHTS`."""
    if logits.shape.rank == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(tf.reshape(labels, (-1,)), logits)
    expected = tf.broadcast_to(tf.reshape(labels, (-1, 1)), tf.shape(logits))
    return tf.linalg.matvec(tf.nn.sigmoid_cross_entropy_with_logits(expected, logits), TOWER_WEIGHTS)


def logit_accuracy(labels: Any, logits: Any) -> Any:
    """Compute whether the sign of each logit, or of the agreed one, equals the label: float32 `[N]`."""
    agreed = logits if logits.shape.rank == 1 else logits[:, 0]
    return tf.cast(tf.equal(agreed >= 0, tf.reshape(labels, (-1,)) > 0.5), tf.float32)


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


def _whole_tower(x: Any, preset: Preset, *, name: str) -> Any:
    layers = keras.layers
    for block, filters in enumerate(preset.filters, start=1):
        x = _block(x, filters, preset, f"block{block}")
    head = layers.Flatten(name="flatten") if preset.head == "flatten" else layers.GlobalAveragePooling2D(name="average")
    x = layers.Dropout(preset.dropout, name="dropout")(head(x))
    if preset.dense:
        x = layers.Dense(preset.dense, activation="relu", name="dense")(x)
        x = layers.Dropout(preset.dropout, name="dense_dropout")(x)
    return layers.Dense(1, name=name)(x)


def _two_towers(x: Any, preset: Preset) -> Any:
    whole = _whole_tower(keras.layers.AveragePooling2D(2, name="half")(x), preset, name="whole_tower")
    return _agreed(whole, _band_tower(x, preset))


def _band_tower(x: Any, preset: Preset) -> Any:
    layers = keras.layers
    (top, bottom), (left, right) = (
        (round(low * preset.size), preset.size - round(high * preset.size)) for low, high in (BAND_ROWS, BAND_COLUMNS)
    )
    x = layers.Cropping2D(((top, bottom), (left, right)), name="band")(x)
    for block, filters in enumerate(preset.band_filters, start=1):
        x = _block(x, filters, preset, f"band{block}")
    pooled = [layers.GlobalAveragePooling2D(name="band_average")(x), layers.GlobalMaxPooling2D(name="band_maximum")(x)]
    x = layers.Dropout(preset.dropout, name="band_dropout")(layers.Concatenate(name="band_pooled")(pooled))
    return layers.Dense(1, name="band_tower")(x)


def _agreed(one: Any, other: Any) -> Any:
    """The logit nearer to 0 where both have the same sign, 0 where not; plus the leak."""
    layers = keras.layers
    above = layers.ReLU(name="both_glasses")(layers.Minimum(name="least")([one, other]))
    negated = layers.Rescaling(-1.0, name="negated")(layers.Maximum(name="greatest")([one, other]))
    below = layers.ReLU(name="both_none")(negated)
    agreed = layers.Subtract(name="agreement")([above, below])
    leak = layers.Rescaling(LEAK, name="leak")(layers.Add(name="both")([one, other]))
    return layers.Add(name="agreed")([agreed, leak])


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
