"""Sources as a data source of Spark Structured Streaming (`pip install pyspark 'pandas<3'`, Spark 4.2 or newer).

    spark.dataSource.register(HeadraceDataSource)
    spark.readStream.format("headrace").options(
        source="4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3",     # a connection spec
        authentication="Kafka No Authentication",
        secret='{"bootstrapServers": "broker:9092"}',      # parameters of the authentication; Spark hides this name
        params='{"topic": "clicks"}',
        reset="earliest",
    ).load()

A row is a message as it came. Spark's checkpoint has the positions; one query uses one connection, and every task one
of its own. Connectors whose messages cannot be read again (Pub/Sub) are refused.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from pyspark.sql.datasource import (  # type: ignore[import-not-found]
    DataSource,
    DataSourceStreamReader,
    InputPartition,
)

from headrace.errors import ConfigurationError
from headrace.sources.connectors import connector
from headrace.sources.contract import EARLIEST, Settings, Source
from headrace.sources.stream_reader import Range, StreamReader

SCHEMA = (
    "partition string, offset bigint, id string, timestamp timestamp, body binary, headers map<string,string>"
)  # fmt: skip
NEEDED = ("source", "authentication", "secret", "params")


class HeadraceDataSource(DataSource):  # type: ignore[misc]
    """The format `headrace`."""

    @classmethod
    def name(cls) -> str:
        return "headrace"

    def schema(self) -> str:
        return SCHEMA

    def streamReader(self, schema: Any) -> "Reader":
        """ConfigurationError names the option that is missing or is no JSON object."""
        options = self.options
        for name in NEEDED:
            if not options.get(name):
                raise ConfigurationError(f"the option {name} is missing")
        return Reader(
            str(options["source"]), str(options["authentication"]), _object(options, "secret"),
            _object(options, "params"), str(options.get("reset", EARLIEST)),
        )  # fmt: skip


class Reader(DataSourceStreamReader):  # type: ignore[misc]
    """What Spark calls on the driver, and ships to the tasks that read."""

    def __init__(
        self, spec_id: str, form: str, auth: dict[str, Any], params: dict[str, Any], reset: str
    ) -> None:
        found = connector(spec_id)
        if not found.replayable:
            raise ConfigurationError(f"messages of {found.name} cannot be read a second time")
        self._spec_id, self._settings = spec_id, Settings(form, auth, params, "spark")
        self._ranges = StreamReader(partial(_open, spec_id, self._settings), reset)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_ranges": StreamReader(partial(_open, self._spec_id, self._settings))
        }

    def initialOffset(self) -> dict[str, Any]:
        return self._ranges.initialOffset()

    def latestOffset(self, start: dict[str, Any], limit: object) -> dict[str, Any]:
        return self._ranges.latestOffset(start, limit)

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[Any]:
        return [InputPartition(found) for found in self._ranges.partitions(start, end)]

    def read(self, partition: Any) -> Iterator[tuple[Any, ...]]:
        planned: Range = partition.value
        for message in self._ranges.read(planned):
            at = datetime.fromtimestamp(message.at / 1000, UTC)
            yield (
                planned.partition,
                message.offset,
                message.id,
                at,
                message.body,
                dict(message.headers),
            )

    def stop(self) -> None:
        self._ranges.stop()


def _open(spec_id: str, settings: Settings) -> Source:
    return cast(Source, connector(spec_id).open(settings))


def _object(options: Any, name: str) -> dict[str, Any]:
    try:
        found = json.loads(options[name])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(f"the option {name} must be a JSON object")
    return found
