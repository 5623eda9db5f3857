"""What an MLflow server holds: entities, and the readers that fetch them."""
