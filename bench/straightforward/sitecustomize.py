"""Puts the straightforward pipeline into a worker, for the comparison of bench/end_to_end.py.

On PYTHONPATH, with bench/ beside it, Python imports this module at start; in the worker process it replaces what runs a frame and what
builds the table: orjson to dicts, closures for each rule, fastjsonschema, `from_pylist`.
"""

import sys

if "headrace.runtime.worker" in sys.orig_argv:
    from typing import Any

    import fastjsonschema
    import orjson
    import pyarrow as pa
    from closures import reader, row_of

    from headrace.log.frames import Frame
    from headrace.log.payloads import records
    from headrace.runtime.batch import Batch
    from headrace.runtime.pipeline import DECODE_CODE, Pipeline, _receipts
    from headrace.xdm.arrow import arrow_type
    from headrace.xdm.fields import Field

    KINDS = {
        "number": "number",
        "boolean": "boolean",
        "int": "integer",
        "long": "integer",
        "short": "integer",
    }

    def json_schema(field: Field) -> dict[str, Any]:
        if field.kind == "object":
            children = {name: json_schema(child) for name, child in field.properties.items()}
            return {"type": "object", "properties": children, "required": list(field.required)}
        if field.kind in ("date", "date-time"):
            return {}
        out: dict[str, Any] = {"type": KINDS.get(field.kind, field.kind)}
        if field.kind in ("array", "map"):
            return {"type": "array"} if field.kind == "array" else {"type": "object"}
        if field.enum:
            out["enum"] = list(field.enum)
        return out

    def prepare(pipeline: Pipeline) -> Any:
        if not hasattr(pipeline, "straightforward"):
            assert pipeline.revision.rules is not None
            rules = [
                (
                    r.destination.split("."),
                    reader(r.source, pipeline.tree.at(r.destination) or Field("string")),
                )
                for r in pipeline.revision.rules
            ]
            pipeline.straightforward = (rules, fastjsonschema.compile(json_schema(pipeline.tree)))  # type: ignore[attr-defined]
        return pipeline.straightforward  # type: ignore[attr-defined]

    def run(pipeline: Pipeline, frame: Frame, batch: Batch) -> None:
        rules, validate = prepare(pipeline)
        for index, (original, text) in enumerate(records(frame)):
            try:
                record = orjson.loads(text)
                row = row_of(rules, record)
                validate(row)
            except Exception as error:
                pipeline._fail(frame, batch, index, original, "decode", DECODE_CODE, "", str(error))
                continue
            batch.rows.append(row)
            batch.offsets.append(frame.offset + index)
            batch.receipts += _receipts(frame, [index])
            batch.received.append(frame.received)
            batch.partitions.append(frame.partition)

    def assemble(pipeline: Pipeline, batch: Batch) -> dict[str, pa.Array]:
        kinds = {name: pipeline.tree.properties[name] for name in batch.rows[0]}
        used: dict[str, Any] = {}
        for rule in pipeline.revision.rules or ():
            node = used
            for step in rule.destination.split("."):
                node = node.setdefault(step, {})

        def pruned(field: Field, names: dict[str, Any]) -> Field:
            if field.kind != "object":
                return field
            return Field(
                "object", properties={n: pruned(field.properties[n], c) for n, c in names.items()}
            )

        schema = pa.schema([(n, arrow_type(pruned(kinds[n], used[n]))) for n in kinds])
        table = pa.Table.from_pylist(batch.rows, schema=schema)
        return {name: table[name].combine_chunks() for name in table.column_names}

    Pipeline.run = run  # type: ignore[method-assign]
    Pipeline.assemble = assemble  # type: ignore[method-assign]
    batch_of = Pipeline.batch

    def batch(pipeline: Pipeline, *given: Any, **named: Any) -> Batch:
        found = batch_of(pipeline, *given, **named)
        found.values = []
        return found

    Pipeline.batch = batch  # type: ignore[method-assign]
