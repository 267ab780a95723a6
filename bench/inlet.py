"""The inlet against a bare handler on the same server.

Bare: a handler that reads the body and answers 200, on the same uvicorn, loop and parser. The inlet does all it
does: routing, envelope, JSON check, log, group sync. Each is measured in turn with 64 keep-alive connections and
1 KB a request. For the ratio the worker process is paused, so that both handlers have the same two cores to
themselves with the load generator; `landing` is the inlet while the worker maps and lands what arrives. Then the
inlet with batches of 100.

    python bench/inlet.py [--requests 20000] [--rounds 3]
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import load
from end_to_end import GROUPS, RULES, children
from events import events

from headrace.testing.server import PlatformClient, ServerProcess

BARE = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive(); await send({"type": "lifespan.startup.complete"})
        await receive(); await send({"type": "lifespan.shutdown.complete"}); return
    while (await receive()).get("more_body"): pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", log_config=None,
            access_log=False, server_header=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    distinct = events(5_000)
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data").start()
        bare_port = server.port + 1
        bare = subprocess.Popen([sys.executable, "-c", BARE, str(bare_port)])
        try:
            client = PlatformClient(server.credentials())
            rules = [
                {"sourceType": "ATTRIBUTE", "source": s, "destination": d} for d, s in RULES.items()
            ]
            journey = client.create_flow({}, rules, groups=GROUPS)
            headers = {"Content-Type": "application/json", "x-adobe-flow-id": journey.flow_id}
            url = f"http://127.0.0.1:{bare_port}/"
            for _ in range(100):
                try:
                    httpx.post(url, content=b"{}")
                    break
                except httpx.HTTPError:
                    time.sleep(0.05)
            single = [load.request(journey.inlet_url, body, headers) for body in distinct]
            plain = [load.request(url, body, headers) for body in distinct]
            assert server.process is not None
            worker = children(server.process.pid)[0]
            kinds = (
                ("bare", bare_port, plain),
                ("inlet", server.port, single),
                ("landing", server.port, single),
            )
            rates: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
            tails: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
            for _ in range(options.rounds):
                for name, port, requests in kinds:
                    os.kill(worker, signal.SIGCONT if name == "landing" else signal.SIGSTOP)
                    stream = iter(requests[n % len(requests)] for n in range(options.requests))
                    result = load.run("127.0.0.1", port, stream, 64)
                    if result.refused:
                        raise RuntimeError(result.first_refusal)
                    rates[name].append(result.requests / result.seconds)
                    tails[name].append(result.percentile(0.99))
            for name in rates:
                rate, tail = statistics.median(rates[name]), statistics.median(tails[name])
                print(f"{name:>8}: {rate:>8,.0f} requests/s, p99 {tail:.1f} ms")
            print(
                f"ratio {statistics.median(rates['inlet']) / statistics.median(rates['bare']):.2f}"
            )
            batches = [
                load.request(
                    journey.batch_url,
                    b'{"messages":[' + b",".join(distinct[n : n + 100]) + b"]}",
                    headers,
                )
                for n in range(0, len(distinct), 100)
            ]
            stream = iter(batches[n % len(batches)] for n in range(options.requests // 10))
            result = load.run("127.0.0.1", server.port, stream, 64)
            rate = result.requests * 100 / result.seconds
            print(
                f"batches of 100: {rate:,.0f} durable events/s, p99 {result.percentile(0.99):.1f} ms"
            )
        finally:
            bare.kill()
            server.stop()


if __name__ == "__main__":
    main()
