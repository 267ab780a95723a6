"""Run the demonstration: start a server, set a dataflow up, stream the purchases, check what landed."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from headrace.demo.platform import Dataflow, Platform, Refused
from headrace.demo.purchases import (
    Purchase,
    fetch,
    read,
    revenue_by_customer,
    revenue_by_month,
)

BATCH = 100
CONNECTIONS = 4
BY_MONTH = (
    "SELECT strftime(timestamp, '%Y-%m') AS month, "
    'round(sum(commerce."order".priceTotal), 2) AS revenue, count(*) AS purchases '
    'FROM "{id}" GROUP BY month ORDER BY month'
)
BEST = (
    "SELECT identityMap['CustomerId'][1].id AS customer, "
    'round(sum(commerce."order".priceTotal), 2) AS revenue, count(*) AS purchases '
    'FROM "{id}" GROUP BY customer ORDER BY revenue DESC, customer LIMIT 10'
)


def main(arguments: list[str]) -> int:
    """The exit status: 0 when everything that was sent has landed and the sums are those of the file."""
    parser = argparse.ArgumentParser(
        prog="headrace demo",
        description="Stream the CDNOW purchase history through the public API.",
    )
    parser.add_argument("--data-dir", type=Path, default=Path("headrace-data"))
    parser.add_argument(
        "--port", type=int, default=0, help="port of the server (default: a free one)"
    )
    parser.add_argument("--limit", type=int, help="only so many events of the file")
    parser.add_argument("--keep", action="store_true", help="leave the server running at the end")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        with serving(options.data_dir, options.port, options.keep) as base_url:
            return _demonstrate(console, options, base_url)
    except (Refused, httpx.HTTPError, subprocess.CalledProcessError, RuntimeError) as error:
        console.print(f"[red]The demo could not go on:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def serving(data_dir: Path, port: int, keep: bool) -> Iterator[str]:
    """A running `headrace serve`; the base URL. It is stopped at the end unless it is to be kept."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = (data_dir / "server.log").open("ab")
    command = [
        sys.executable,
        "-m",
        "headrace",
        "serve",
        "--data-dir",
        str(data_dir),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    succeeded = False
    try:
        yield _wait_until_ready(data_dir, server)
        succeeded = True
    finally:
        if not (keep and succeeded):
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(90)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_ready(data_dir: Path, server: "subprocess.Popen[bytes]") -> str:
    started = time.time()
    while time.time() - started < 60:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended: see {data_dir / 'server.log'}")
        credentials = data_dir / "credentials.json"
        with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
            if credentials.stat().st_mtime >= started - 1 or time.time() - started > 2:
                base_url: str = json.loads(credentials.read_text())["base_url"]
                if httpx.get(f"{base_url}/health", timeout=2).status_code == 200:
                    return base_url
        time.sleep(0.1)
    raise RuntimeError("the server did not become ready within a minute")


def _demonstrate(console: Console, options: argparse.Namespace, base_url: str) -> int:
    console.print(f"Server: [bold]{base_url}[/], data in {options.data_dir}", highlight=False)
    with console.status("Fetching the CDNOW purchase history"):
        purchases = list(read(fetch(options.data_dir / "cache"), options.limit))
    credentials = json.loads((options.data_dir / "credentials.json").read_text())
    platform = Platform(credentials)
    flow = platform.create_dataflow()
    console.print(f"Dataflow {flow.flow_id} into data set {flow.dataset_id}", highlight=False)
    started = time.monotonic()
    accepted = _stream(console, flow, purchases)
    sent_at = time.monotonic()
    landed, failed = _wait_until_landed(platform, flow, accepted)
    visible_at = time.monotonic()
    sent = len(purchases)
    balanced = sent == accepted == landed + failed
    mark = "[green]✓[/]" if balanced else "[red]✗[/]"
    console.print(
        f"\n{mark} Balance: sent {sent:,} = accepted {accepted:,} = landed {landed:,} + failed {failed:,}"
    )
    console.print(
        f"  {accepted / (sent_at - started):,.0f} events/s acknowledged, "
        f"{accepted / (visible_at - started):,.0f} events/s landed, "
        f"last row visible {visible_at - sent_at:.1f} s after the last event was sent"
    )
    correct = _check(console, options.data_dir, flow, purchases)
    _how_to_go_on(console, options, base_url, flow)
    return 0 if balanced and correct else 1


def _stream(console: Console, flow: Dataflow, purchases: list[Purchase]) -> int:
    """Send everything; the number of events that were acknowledged."""
    batches = [purchases[n : n + BATCH] for n in range(0, len(purchases), BATCH)]
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    accepted = 0
    limits = httpx.Limits(max_connections=CONNECTIONS)
    with (
        Progress(*columns, console=console) as progress,
        httpx.Client(limits=limits, timeout=60) as client,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        task = progress.add_task("Streaming", total=len(purchases))
        for count in pool.map(lambda batch: _send(client, flow, batch), batches):
            accepted += count
            progress.advance(task, count)
    return accepted


def _send(client: httpx.Client, flow: Dataflow, batch: list[Purchase]) -> int:
    body = {"messages": [purchase.event() for purchase in batch]}
    while True:
        answer = client.post(flow.batch_url, json=body, headers={"x-adobe-flow-id": flow.flow_id})
        if answer.status_code in (429, 503):
            time.sleep(float(answer.headers.get("retry-after", "1")))
            continue
        if answer.status_code != 207:
            raise Refused(f"the inlet answered {answer.status_code}: {answer.text}")
        return sum("status" not in element for element in answer.json()["responses"])


def _wait_until_landed(platform: Platform, flow: Dataflow, accepted: int) -> tuple[int, int]:
    deadline = time.monotonic() + 120
    while True:
        landed, failed = platform.counters(flow.flow_id)
        if landed + failed >= accepted or time.monotonic() > deadline:
            return landed, failed
        time.sleep(0.1)


def _query(data_dir: Path, sql: str) -> list[dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "headrace",
        "sql",
        sql,
        "--data-dir",
        str(data_dir),
        "--format",
        "json",
    ]
    found: list[dict[str, Any]] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return found


def _check(console: Console, data_dir: Path, flow: Dataflow, purchases: list[Purchase]) -> bool:
    """Both answers from the table, beside the same sums over the file."""
    by_month = revenue_by_month(purchases)
    best = dict(list(revenue_by_customer(purchases).items())[:10])
    correct = True
    for title, sql, key, expected in (
        ("Revenue by month", BY_MONTH, "month", by_month),
        ("Ten best customers", BEST, "customer", best),
    ):
        rows = _query(data_dir, sql.format(id=flow.dataset_id))
        table = Table(title=title, title_justify="left")
        for column in (key, "revenue", "purchases", "file says"):
            table.add_column(column, justify="left" if column == key else "right")
        for row in rows:
            wanted = expected.get(row[key])
            table.add_row(
                row[key], f"{row['revenue']:,.2f}", str(row["purchases"]), f"{wanted or 0:,.2f}"
            )
        agrees = {row[key]: Decimal(str(row["revenue"])) for row in rows} == {
            k: v.quantize(Decimal("0.01")) for k, v in expected.items()
        }
        correct = correct and agrees
        console.print(table)
        console.print("[green]✓ as in the file[/]" if agrees else "[red]✗ not as in the file[/]")
    return correct


def _how_to_go_on(
    console: Console, options: argparse.Namespace, base_url: str, flow: Dataflow
) -> None:
    warehouse = options.data_dir / "lake" / "warehouse" / "prod" / flow.dataset_id
    program = _shortest(Path(sys.executable).with_name("headrace"))
    lines = [
        f"\nThe table lies in {warehouse} (Iceberg; catalog {options.data_dir / 'lake' / 'catalog.db'}).",
        f"  {program} sql --data-dir {options.data_dir} 'SELECT * FROM \"{flow.dataset_id}\" LIMIT 5'",
    ]
    if options.keep:
        lines += [
            f"The server goes on at {base_url}; its credentials are in {options.data_dir / 'credentials.json'}.",
            f"  curl {base_url}/health",
            f"  curl -H 'x-adobe-flow-id: {flow.flow_id}' -H 'Content-Type: application/json' \\",
            '    -d \'{"id": "mine-1", "customer": "me", "date": "19970101", "cds": "2", "value": 25.5}\' \\',
            f"    {flow.inlet_url}",
        ]
    else:
        lines.append(f"  {program} serve --data-dir {options.data_dir}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _shortest(path: Path) -> str:
    """A path as one would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
