"""Who there is and how that changes: blocking, above the stores; the importer process and the commands call it."""
