"""The door to the kernel: pyfuse3 and nothing else. Requests are translated, carried out by `namespace`, answered.

`native` stands between pyfuse3 and libfuse. The linker binds them when pyfuse3 is loaded, so it is loaded here, before
any module of this package can import that.
"""

import os
import sys
from types import ModuleType

BACKING_SHIFT = 32
"""Of a handle's number: from this bit on it is the kernel's number of the file that it is to read by itself."""
LISTING_CACHED, LISTING_KEPT = 1 << 62, 1 << 61
"""Of a directory's handle: the kernel may keep what is listed by it; it may use what it has kept."""


def _load() -> ModuleType | None:
    """Return the module whose symbols libfuse's callers find first, or None where it was not built."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        from repofs.fuse import _native
    except ImportError:
        return None
    finally:
        sys.setdlopenflags(flags)
    return _native


native = _load()
