"""End to end over HTTP: first send to last row visible, with the load generator on the same machine.

Starts a server, creates a flow of ten mapped fields through the public API, sends events of about 1 KB in
batches over keep-alive connections and waits until the last row has landed. `--compare` also runs the same path
with the straightforward pipeline (see bench/straightforward) in place of the generated one, for the ratio.

    python bench/end_to_end.py [--events 500000] [--batch 100] [--connections 16] [--compare]
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import load
from events import events

from headrace.testing.server import PlatformClient, ServerProcess

RULES = {
    "_id": "eventId",
    "timestamp": "ts",
    "eventType": "type",
    "commerce.order.purchaseID": "order.id",
    "commerce.order.priceTotal": "order.total",
    "commerce.order.currencyCode": "order.currency",
    "device.type": "device.type",
    "device.screenWidth": "device.screen.w",
    "environment.operatingSystem": "device.os",
    "web.webPageDetails.URL": "page.url",
}
GROUPS = tuple(
    f"https://ns.adobe.com/xdm/context/experienceevent-{name}"
    for name in ("commerce", "environment-details", "web")
)


class MemoryWatch(threading.Thread):
    """Peak of the summed resident memory (bytes) of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.stopping = pid, 0, False
        self.samples: list[int] = []

    def run(self) -> None:
        while not self.stopping:
            total = sum(_resident(pid) for pid in (self.pid, *children(self.pid)))
            self.samples.append(total)
            self.peak = max(self.peak, total)
            time.sleep(0.2)


def children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def landed(base_url: str, flow_id: str) -> int:
    text = httpx.get(f"{base_url}/metrics").text
    found = 0.0
    for line in text.splitlines():
        if line.startswith(("headrace_flow_landed{", "headrace_flow_failed{")) and flow_id in line:
            found += float(line.rsplit(" ", 1)[1])
    return int(found)


def measure(count: int, batch: int, connections: int, **environment: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data", **environment).start()
        try:
            client = PlatformClient(server.credentials())
            rules = [
                {"sourceType": "ATTRIBUTE", "source": s, "destination": d} for d, s in RULES.items()
            ]
            journey = client.create_flow({}, rules, groups=GROUPS)
            headers = {"Content-Type": "application/json", "x-adobe-flow-id": journey.flow_id}
            distinct = events(min(count, 20_000))
            if batch > 1:
                bodies = [
                    b'{"messages":[' + b",".join(distinct[n : n + batch]) + b"]}"
                    for n in range(0, len(distinct), batch)
                ]
                requests = [load.request(journey.batch_url, body, headers) for body in bodies]
            else:
                requests = [load.request(journey.inlet_url, body, headers) for body in distinct]
            assert server.process is not None
            watch = MemoryWatch(server.process.pid)
            watch.start()
            wanted = count // batch
            stream = iter(requests[n % len(requests)] for n in range(wanted))
            result = load.run("127.0.0.1", server.port, stream, connections)
            base = server.credentials()["base_url"]
            while landed(base, journey.flow_id) < wanted * batch:
                time.sleep(0.05)
                if time.time() - result.started > 900:
                    raise TimeoutError("not everything landed")
            total = time.time() - result.started
            visible = server.sql(f'SELECT count(*) AS n FROM "{journey.dataset_id}"')[0]["n"]
            watch.stopping = True
            third = len(watch.samples) // 3
            return {
                "events": wanted * batch, "visible": visible, "refused": result.refused,
                "acknowledged": wanted * batch / result.seconds, "committed": wanted * batch / total,
                "p50": result.percentile(0.5), "p99": result.percentile(0.99), "peak": watch.peak,
                "peak_first_third": max(watch.samples[: third or 1]),
            }  # fmt: skip
        finally:
            server.stop()


def show(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name}: {found['events']:,} events, {found['visible']:,} visible, {found['refused']} refused; "
        f"acknowledged {found['acknowledged']:,.0f}/s, committed {found['committed']:,.0f}/s, "
        f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms, "
        f"peak memory {found['peak'] / 2**20:,.0f} MiB (first third {found['peak_first_third'] / 2**20:,.0f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument(
        "--compare", action="store_true", help="also with the straightforward pipeline"
    )
    options = parser.parse_args()
    found = measure(options.events, options.batch, options.connections)
    show(f"batches of {options.batch}", found)
    if options.compare:
        few, here = min(options.events, 300_000), Path(__file__).parent
        ours = measure(few, options.batch, options.connections)
        show("headrace", ours)
        plain = measure(
            few,
            options.batch,
            options.connections,
            PYTHONPATH=os.pathsep.join((str(here / "straightforward"), str(here))),
        )
        show("straightforward pipeline", plain)
        print(f"ratio {ours['committed'] / plain['committed']:.1f}")


if __name__ == "__main__":
    main()
