"""Settings of the libraries that a user or another project made for the same machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SETTINGS = """
from training.model.network import keras
print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon(),
      keras.config.max_epochs(), keras.config.max_steps_per_epoch())
"""

FIGURE = """
import hashlib
from training.figures import as_png, as_svg, curve
figure = curve({"loss": [1.0, 0.5], "val_loss": [1.0, 0.6]}, "loss", kept=2)
print(hashlib.sha256(as_svg(figure, "loss").encode() + as_png(figure)).hexdigest())
"""


def run(script: str, folder: Path, **environment: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_network_depends_on_no_settings_of_keras_for_other_projects(tmp_path: Path) -> None:
    (tmp_path / ".keras").mkdir()
    other = {"backend": "jax", "floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}
    (tmp_path / ".keras/keras.json").write_text(json.dumps(other))
    variables = {"KERAS_BACKEND": "torch", "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    found = run(SETTINGS, tmp_path, HOME=str(tmp_path), **variables)
    assert found == "tensorflow float32 channels_last 1e-07 None None\n"
    assert json.loads((tmp_path / ".keras/keras.json").read_text()) == other


def test_figures_are_the_same_beside_a_style_of_matplotlib(tmp_path: Path) -> None:
    (tmp_path / "style").mkdir()
    (tmp_path / "style/matplotlibrc").write_text("text.usetex: True\naxes.linewidth: 7\nlines.marker: o\n")
    plain, styled = (run(FIGURE, folder, MPLBACKEND="Qt4Agg") for folder in (tmp_path, tmp_path / "style"))
    assert plain == styled
