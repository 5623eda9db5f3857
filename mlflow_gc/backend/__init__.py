"""The only room that calls MLflow."""
