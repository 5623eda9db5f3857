"""A throw-away MLflow server with realistic stale and live data, to try the tool on."""
