"""Registering TileDB arrays as tables, and what is known of those that are registered."""
