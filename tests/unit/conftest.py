"""What tests in this process share."""

from collections.abc import Iterator

import pytest

from headrace.security import digests


@pytest.fixture(scope="session", autouse=True)
def cheap_digests() -> Iterator[None]:
    """Secrets are hashed at a cost that hundreds of new installations can bear; a stored form names its cost, and
    what a real server stores is looked at in the journey of secrets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_N", 2**4)
        yield
