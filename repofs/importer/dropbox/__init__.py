"""Watched folders outside the mount: what comes into them is queued in the catalogue and imported.

    events, or the period of scans ─ a look at a directory ─ clocks ─ identity ─ the queue ─ arrivals

A look compares what lies in a directory with what the catalogue knows; events only say where to look again, so that one
that is lost or comes twice costs nothing but time.
"""
