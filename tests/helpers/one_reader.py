"""The parent of reader processes, `repofs.formats.process`, that knows one format: it is up in a third of the time."""

from repofs.formats import process, registry

if __name__ == "__main__":
    registry._OWN, registry._EXTRAS = registry._OWN[-1:], ()
    process.main()
