"""The HTTPS door: the JSON API of tables. The only room that knows the web framework."""
