"""repofs usage: how many bytes and files the repository holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from repofs.cli import location
from repofs.cli.output import AsJson, print_columns, print_json
from repofs.usage import By

if TYPE_CHECKING:
    from repofs.repository.layout import Layout


def usage(
    context: typer.Context,
    by: Annotated[By, typer.Option("--by", help="What the bytes are told apart by.")] = By.USER,
    as_json: AsJson = False,
) -> None:
    """Show how many bytes and files are in the repository."""
    from repofs.quotas import human_bytes

    report = ask(context, by)
    if as_json:
        print_json(report)
        return
    rows, total = report["rows"], report["total"]
    with_quota = any("quota" in row for row in rows)
    headers = [
        by.upper(),
        "FILES",
        "SIZE",
        "ORIGINALS",
        "DROPS",
        "TRASH",
        "OUTSIDE",
        *(["QUOTA"] if with_quota else []),
    ]
    table = []
    for row in rows:
        sizes = [human_bytes(row[key]) for key in ("total", "originals", "drops", "trash", "outside")]
        quota = row.get("quota")
        table.append([row[by], row["files"], *sizes, *([quota and human_bytes(quota)] if with_quota else [])])
    print_columns(headers, table)
    print(f"Total disk usage: {human_bytes(total['total'])} in {total['files']} files")


def ask(context: typer.Context, by: By) -> Any:
    """Return the report as JSON has it: of a daemon what the caller may view; without one, for who may open the
    catalogue, all of it, and the drops as they were when the last daemon ended."""
    from repofs.control import client
    from repofs.control.protocol import Call, ShowUsage
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    answered, result = client.ask(layout, Call(ShowUsage(by)))
    return result if answered else _without_daemon(layout, by)


def _without_daemon(layout: Layout, by: By) -> dict[str, object]:
    from repofs.administration.office import Office
    from repofs.catalog.usage import sums
    from repofs.cli.repository import catalogue
    from repofs.config import load
    from repofs.repository import drop_counts
    from repofs.usage import Sums, report
    from repofs.views import Seen

    with catalogue(layout, read_only=True) as engine:
        people = Office(layout, load(layout.root), writing=engine, reading=engine).roster.people
        with engine.begin() as conn:
            found = sums(conn, Sums(by, Seen(0, True, (), ())))
    counts = drop_counts.load(layout.drop_counts)

    def quota(key: bytes | int) -> int | None:
        return people.user_quotas.get(key) if isinstance(key, bytes) else people.group_quotas.get(key)

    return report(by, found, counts.held, people, quota)
