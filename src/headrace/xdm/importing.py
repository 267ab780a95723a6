"""`headrace xdm import`: a checkout of the public XDM repository becomes the standard library of a data directory."""

import time
from pathlib import Path
from typing import TextIO

from headrace.errors import ConfigurationError
from headrace.xdm.library import IMPORTED, Library, keep
from headrace.xdm.repository import problems, read


def import_repository(path: Path, data_dir: Path, out: TextIO) -> int:
    """Load every usable component and report the others, one line each; a running server notices by itself.

    Returns the exit status; ConfigurationError when the path holds no components.
    """
    began = time.perf_counter()
    try:
        reading = read(path, Library().shipped())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if not reading.resources:
        raise ConfigurationError(f"{path} holds no usable component")
    for line in problems(reading):
        print(f"not used: {line}", file=out)
    keep(data_dir / IMPORTED, reading.resources.values())
    refused = sum(not refusal.inactive for refusal in reading.refusals)
    total = reading.active + refused
    print(
        f"imported {len(reading.resources)} components: {reading.active} of {total} active ones "
        f"({100 * reading.active / max(total, 1):.1f} %) and "
        f"{len(reading.resources) - reading.active} deprecated, in "
        f"{time.perf_counter() - began:.1f} s",
        file=out,
    )
    return 0
