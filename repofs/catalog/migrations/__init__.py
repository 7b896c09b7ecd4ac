"""The history of the schema: one revision a file in `versions/`, run by `engine.open_engine`."""
