"""Revisions, numbered; each says what a catalogue of the one before lacks."""
