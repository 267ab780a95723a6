"""Values of tables as JSON has them."""

import base64
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any


def scalar(value: Any) -> Any:
    """A value that is no list and no object: times as ISO text in UTC, bytes as text or else base64; what JSON has
    no form for is null."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
