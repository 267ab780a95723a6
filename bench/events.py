"""Events for the benchmarks: nested JSON of about 1 KB, made from a seed."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

FIRST = [
    "Ada",
    "Grace",
    "Alan",
    "Edsger",
    "Barbara",
    "Donald",
    "Margaret",
    "Ken",
    "Dennis",
    "Radia",
    "Leslie",
    "Tony",
]
LAST = [
    "Lovelace",
    "Hopper",
    "Turing",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Hamilton",
    "Thompson",
    "Ritchie",
    "Perlman",
]
CITIES = [
    "Amsterdam",
    "Berlin",
    "Chicago",
    "Delhi",
    "Florence",
    "Geneva",
    "Helsinki",
    "Istanbul",
    "Jakarta",
]
START = datetime(2024, 1, 1, tzinfo=UTC)


def event(number: int, random_source: random.Random) -> dict[str, Any]:
    pick, between = random_source.choice, random_source.randrange
    first, last = pick(FIRST), pick(LAST)
    at = START + timedelta(milliseconds=number * 137 + between(100))
    return {
        "eventId": f"{random_source.getrandbits(64):016x}-{number:012d}",
        "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "type": pick(["commerce.purchases", "commerce.productViews", "web.webpagedetails.pageViews"]),
        "customer": {
            "id": f"CUST{between(10**9):09d}", "firstName": first, "lastName": last,
            "email": f"{first}.{last}{between(1000)}@example.com".lower(),
            "phone": f"+31 20 {between(10**7):07d}",
            "birthDate": f"19{between(50, 99):02d}-{between(1, 13):02d}-{between(1, 29):02d}",
            "loyalty": {"tier": pick(["gold", "silver", "bronze"]), "points": between(100_000)},
            "address": {
                "street": f"{between(1, 400)} Main Street", "city": pick(CITIES),
                "postalCode": f"{between(10**5):05d}", "country": pick(["NL", "US", "DE", "IN"]),
            },
        },
        "device": {
            "type": pick(["desktop", "mobile", "tablet"]), "os": pick(["iOS", "Android", "Windows"]),
            "screen": {"w": pick([390, 1440, 1920]), "h": pick([844, 900, 1080])},
            "ua": f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{between(90, 130)}.0 Safari/537.36",
        },
        "page": {
            "url": f"https://shop.example.com/p/{between(10**6)}?utm_source=mail", "title": "Product page",
            "referrer": "https://search.example.com/", "loadMs": round(random_source.uniform(50, 3000), 2),
        },
        "order": {
            "id": f"O-{between(10**8):08d}", "currency": "EUR",
            "total": round(random_source.uniform(1, 900), 2),
            "items": [
                {"sku": f"SKU{between(10**5):05d}", "qty": between(1, 4), "price": round(random_source.uniform(1, 300), 2)}
                for _ in range(2)
            ],
        },
        "consent": {"marketing": random_source.random() < 0.5, "analytics": True},
    }  # fmt: skip


def events(count: int, seed: int = 7) -> list[bytes]:
    """`count` events as JSON bytes."""
    source = random.Random(seed)
    return [json.dumps(event(n, source), separators=(",", ":")).encode() for n in range(count)]
