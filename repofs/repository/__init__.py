"""The repository on its file system: where everything lies, marks, checksums, import directories. No catalogue."""
