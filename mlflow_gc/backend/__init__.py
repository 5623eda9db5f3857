"""The only package that calls MLflow."""
