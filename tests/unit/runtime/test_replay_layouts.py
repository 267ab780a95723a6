"""What a replay runs is the record that failed, in whatever form it came: it lands as it would have landed under the
revision that is good now, or fails as it would have failed."""

import asyncio
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.log.frames import DELIMITED, LINES, LOG_PARTITION, MESSAGES, SINGLE, Frame, Meta
from headrace.log.payloads import MOST_HEADER
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.pulled import frame_of
from headrace.runtime.queued import entry_of
from headrace.runtime.replay import Reasons, outcomes, rerun, run
from headrace.sources.contract import Chunk, Message, Position
from headrace.xdm.fields import Field
from tests.unit.runtime.test_replay import Site

RULES = (Rule("ATTRIBUTE", "id", "_id"), Rule("ATTRIBUTE", "n", "n"))
INNER = Field("object", properties={"a": Field("string")})


def tree(longest: int) -> Field:
    return Field(
        "object", required=("_id",),
        properties={
            "_id": Field("string", max_length=longest), "n": Field("int"), "header": INNER, "body": INNER,
        },
    )  # fmt: skip


def revision(rules: tuple[Rule, ...] | None, **more: str) -> FlowRevision:
    """One under which only ids of up to two characters land."""
    return FlowRevision("f", 1, "o", "prod", "d", "s", "1.0", tree(2).to_json(), rules, **more)


def fixed(first: FlowRevision) -> FlowRevision:
    return replace(first, revision=2, schema=tree(90).to_json())


def landed(batches: list[Batch]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Rows by place, with times, as the lake would get them."""
    found = {}
    for batch in batches:
        table = batch.good("batch")
        for row in table.to_pylist() if table else ():
            place = row["_acp_system_metadata"]
            key = place["sourcePartition"], place["sourceOffset"], place["receiptId"]
            assert key not in found
            found[key] = {name: value for name, value in row.items() if value is not None}
    return found


def batch_of(frame: Frame, chosen: FlowRevision) -> Batch:
    batch = Pipeline(chosen).batch(frame.meta.envelope)
    batch.add(frame)
    return batch


def failed(frame: Frame, chosen: FlowRevision) -> pa.Table:
    batch = batch_of(frame, chosen)
    batch.good("first")
    rows = batch.failed("first-failed")
    assert rows is not None
    return rows


def check(frame: Frame, first: FlowRevision, lands: int, fails: int) -> None:
    """The failed rows of a frame land, or fail, under the fixed revision as the whole frame would under it."""
    rows, then = failed(frame, first), fixed(first)
    again = run(Pipeline(then), rows)
    here, meant = landed(again), landed([batch_of(frame, then)])
    keys = set(
        zip(
            *(rows[n].to_pylist() for n in ("sourcePartition", "sourceOffset", "receiptId")),
            strict=True,
        )
    )
    assert here == {key: row for key, row in meant.items() if key in keys}
    reasons = [(f.offset, f.code) for batch in again for f in batch.failures]
    assert (len(here), len(reasons)) == (lands, fails)
    fresh = batch_of(frame, then)
    fresh.good("batch")
    assert sorted(reasons) == sorted((f.offset, f.code) for f in fresh.failures)


def logged(layout: int, body: bytes, count: int, *, envelope: bool = False) -> Frame:
    meta = Meta(layout, "f", 1, 0, "r", envelope)
    return Frame(7, count, 1_700_000_000_000, meta, body)


RAW = b'{"id": "long-1", "n": 1}'
WRAPPED = b'{"header": {"imsOrgId": "o"}, "body": {"id": "long-2", "n": 2}}'
XDM = b'{"header": {"schemaRef": {"id": "s"}}, "body": {"xdmMeta": {"schemaRef": {"id": "s"}}, "xdmEntity": %s}}'
PLAIN = XDM % b'{"_id": "long-3", "n": 3}'
NESTED = XDM % b'{"_id": "long-4", "header": {"a": "x"}, "body": {"a": "y"}}'
POISON = XDM % b'{"_id": 7}'
CSV = '\ufeffn,id,note\r\n1,long-1,\r\n2,ok,x\r\n3,"long\n3",a\u2028b\r\n\r\n4,long-4\r\n5,,\r\n'.encode()


def messages(*each: bytes) -> bytes:
    return b'{"messages": [' + b", ".join(each) + b"]}"


@pytest.mark.parametrize(("layout", "body", "count", "lands", "fails"), [
    pytest.param(SINGLE, RAW, 1, 1, 0, id="one"),
    pytest.param(SINGLE, WRAPPED, 1, 1, 0, id="one below header and body"),
    pytest.param(MESSAGES, messages(RAW, WRAPPED, b"7", RAW), 4, 3, 1, id="messages"),
    pytest.param(LINES, b"\n".join([RAW, b"{", WRAPPED]), 3, 2, 1, id="lines"),
    pytest.param(DELIMITED, CSV, 5, 3, 1, id="rows of CSV"),
    pytest.param(DELIMITED, b'"id\nx"\n{}\n5\n', 2, 0, 2, id="rows that read as JSON"),
    pytest.param(DELIMITED, b"id,n\nlong-1,1,and,more\nlong-2\n", 2, 2, 0, id="short and long rows"),
    pytest.param(MESSAGES, messages(b'[{"id": "long-1"}]'), 1, 0, 1, id="an array that is one element"),
])  # fmt: skip
def test_raw_records_of_an_inlet_are_mapped_as_when_they_came(
    layout: int, body: bytes, count: int, lands: int, fails: int
) -> None:
    check(logged(layout, body, count), revision(RULES), lands, fails)


@pytest.mark.parametrize("rules", [None, RULES], ids=["no mapping", "mapping"])
@pytest.mark.parametrize(("layout", "body", "count", "lands", "fails"), [
    (SINGLE, PLAIN, 1, 1, 0),
    (MESSAGES, messages(PLAIN, POISON, NESTED), 3, 2, 1),
    (LINES, b"\n".join([PLAIN, POISON, NESTED]), 3, 2, 1),
])  # fmt: skip
def test_enveloped_records_of_an_inlet_are_xdm_that_no_mapping_touches(
    layout: int, body: bytes, count: int, lands: int, fails: int, rules: tuple[Rule, ...] | None
) -> None:
    frame = logged(layout, body, count, envelope=True)
    check(frame, revision(rules, payload="xdm"), lands, fails)


def test_one_replay_takes_raw_and_enveloped_records_of_a_flow_together() -> None:
    first = revision(RULES)
    raw = failed(logged(SINGLE, RAW, 1), first)
    enveloped = failed(replace(logged(SINGLE, PLAIN, 1, envelope=True), offset=8), first)
    rows = pa.concat_tables([raw, enveloped])
    done = rerun(Pipeline(fixed(first)), rows, "batch", Reasons())
    found = [row for table in done.good for row in table.to_pylist()]
    assert {row["_id"]: row["n"] for row in found} == {"long-1": 1, "long-3": 3}
    assert done.keys == {(LOG_PARTITION, 7, "r"), (LOG_PARTITION, 8, "r")}


def test_both_land_with_one_commit_of_the_lake(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    strict = replace(site.first, revision=2, schema=tree(2).to_json())
    site.revisions.add(strict)

    async def accept() -> None:
        writer = LogWriter(site.directory / "log")
        for n in range(2):
            await writer.append(SINGLE, "f", 2, f"raw-{n}", 1, b'{"id": "long-%d", "n": 1}' % n, 5)
            xdm = XDM % (b'{"_id": "xdm-%d", "n": 2}' % n)
            await writer.append(SINGLE, "f", 2, f"xdm-{n}", 1, xdm, 5, envelope=True)
        await writer.close()

    asyncio.run(accept())
    site.land()
    table = site.lake.table("prod", "d")
    assert table.current_snapshot() is None
    site.revisions.add(replace(strict, revision=3, schema=tree(90).to_json()))
    done = site.replay()
    assert (done["selected"], done["landed"], len(done["batches"])) == (4, 4, 1)
    assert site.good() == {"long-0": 1, "long-1": 1, "xdm-0": 2, "xdm-1": 2}
    assert len(site.lake.table("prod", "d").snapshots()) == 1
    assert site.failed() == []


def pulled(*bodies: bytes, chosen: FlowRevision) -> Frame:
    sent = [Message(body, n, 1_700_000_000_000 + n, f"m{n}") for n, body in enumerate(bodies)]
    chunk = Chunk(sent, Position(len(sent)))
    return frame_of("shard-1", chunk, "f", 1, 0, chosen.payload, chosen.format)


@pytest.mark.parametrize("rules", [None, RULES], ids=["no mapping", "mapping"])
@pytest.mark.parametrize("payload", ["raw", "xdm"])
def test_messages_of_a_stream_are_what_they_were(
    rules: tuple[Rule, ...] | None, payload: str
) -> None:
    first = revision(rules, payload=payload, source="kinesis")
    bare = b'{"_id": "long-9", "id": "long-9"}'
    lines = bare + b"\n" + bare
    kinds = [
        RAW, WRAPPED, PLAIN, NESTED, bare, b"[" + bare + b"," + PLAIN + b"]", lines, gzip.compress(bare),
        gzip.compress(bare)[:-3], b'[{"id":', b"[[" + bare + b"]]", b"", b'{"id"',
    ]  # fmt: skip
    for body in kinds:
        frame = pulled(body, chosen=first)
        rows, then = failed(frame, first), fixed(first)
        fresh = landed([batch_of(frame, then)])
        check(frame, first, len(fresh), rows.num_rows - len(fresh))


def test_rows_of_csv_in_messages_of_a_stream_keep_the_header_of_their_message() -> None:
    first = revision(RULES, source="kinesis", format="delimited")
    frame = pulled(
        b"id,n\nlong-1,1\nok,2\n", gzip.compress(b"n,id\n3,long-3\n4,long-4\n"), b'{"id":1,"id":1}\n"', b"a,a\n1,2",
        chosen=first,
    )  # fmt: skip
    check(frame, first, 3, 2)
    rows = failed(frame, first)
    assert rows["header"].to_pylist() == ["id,n", "n,id", "n,id", None, None]


def test_a_message_of_a_stream_that_is_no_csv_is_not_taken_for_json() -> None:
    first = revision(RULES, source="kinesis", format="delimited")
    check(pulled(b'\n{"id": "long-1"}', chosen=first), first, 0, 1)


@pytest.mark.parametrize("rules", [None, RULES], ids=["no mapping", "mapping"])
@pytest.mark.parametrize("payload", ["raw", "xdm"])
@pytest.mark.parametrize("format", ["json", "delimited"])
def test_messages_of_a_queue_are_what_they_were(
    rules: tuple[Rule, ...] | None, payload: str, format: str
) -> None:
    first = revision(rules, payload=payload, format=format, source="pubsub")
    bare = b'{"_id": "long-9", "id": "long-9"}'
    kinds = [
        RAW, WRAPPED, PLAIN, NESTED, bare, b"[" + bare + b"," + PLAIN + b"]", b"[" + PLAIN + b"," + NESTED + b"]",
        gzip.compress(bare), gzip.compress(bare)[:-3], b'[{"id":', b"[[" + bare + b"]]", b"id,_id\nlong-1,long-1\n",
        gzip.compress(b"_id,id\nlong-1,long-1\nlong-2,long-2\n"),
    ]  # fmt: skip
    for body in kinds:
        entry = entry_of(Message(body, 0, 5, "m"), first)
        if entry is None:
            continue
        frame = logged(entry.layout, entry.body, entry.count, envelope=entry.envelope)
        rows, then = failed(frame, first), fixed(first)
        fresh = landed([batch_of(frame, then)])
        check(frame, first, len(fresh), rows.num_rows - len(fresh))


def test_a_header_that_is_long_is_held_once_and_one_that_is_too_long_not_at_all() -> None:
    first = revision(RULES)
    name = b"x" * (MOST_HEADER - 4)
    body = b"id," + name + b"\n" + b"long,1\n" * 3_000
    rows = failed(logged(DELIMITED, body, 3_000), first)
    assert rows["header"].null_count == 0
    assert rows.nbytes < 2 * 2**20
    whole = rows["header"][2_999].as_py()
    assert whole == (b"id," + name).decode()
    body = b"id,xx" + name + b"\n" + b"long,1\n" * 2
    rows = failed(logged(DELIMITED, body, 2), first)
    assert rows["header"].to_pylist() == ["", ""]
    found = outcomes(Pipeline(fixed(first)), run(Pipeline(fixed(first)), rows))
    assert [getattr(outcome, "stage", "landed") for outcome in found.values()] == ["decode"] * 2


def test_records_that_are_no_rows_of_csv_have_no_header() -> None:
    for layout, body in ((SINGLE, RAW), (MESSAGES, messages(RAW)), (LINES, RAW)):
        rows = failed(logged(layout, body, 1), revision(RULES))
        assert rows["header"].to_pylist() == [None]
        assert json.loads(rows["original"][0].as_py()) == json.loads(RAW)
