"""The contract, sentence by sentence, through the command line against a real MLflow server."""
