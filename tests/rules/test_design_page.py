"""docs/design.md draws the life of an import from the table in the code."""

from pathlib import Path

from repofs import lifecycle

PAGE = Path(__file__).parents[2] / "docs" / "design.md"


def test_the_page_draws_the_lifecycle_as_the_code_has_it() -> None:
    _, _, after = PAGE.read_text(encoding="utf-8").partition("<!-- lifecycle:")
    drawing = after.partition("-->\n")[2].partition("\n<!-- end -->")[0]
    assert drawing == lifecycle.diagram(), "run python -m repofs.lifecycle and put what it prints into docs/design.md"
