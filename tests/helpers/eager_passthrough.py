"""repofs whose kernel reads even the smallest originals by itself, so that tests of small files meet passthrough.

Run in place of repofs: ``python -m tests.helpers.eager_passthrough mount …``.
"""

from __future__ import annotations

from repofs.cli import main
from repofs.namespace import passthrough

if __name__ == "__main__":
    passthrough.LEAST_BYTES = 0
    main()
