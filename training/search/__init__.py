"""Studies and hyperparameter tuning."""
