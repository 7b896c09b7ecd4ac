"""TileDB arrays: made, read, looked into. The only room that knows the library."""
