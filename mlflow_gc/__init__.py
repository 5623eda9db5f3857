"""mlflow-gc: plan/apply pruning for MLflow tracking servers and model registries."""

__version__ = "0.1.0"
