"""The streaming envelope: what tells XDM (`body.xdmEntity`) from any other object, and names its schema."""

import msgspec

ABSENT = msgspec.Raw()


class Reference(msgspec.Struct):
    id: str
    contentType: str | None = None


class Meta(msgspec.Struct):
    schemaRef: Reference | None = None


class Body(msgspec.Struct):
    xdmMeta: Meta | None = None
    xdmEntity: msgspec.Raw = ABSENT


class Outline(msgspec.Struct):
    """An object of which only the envelope's two keys matter."""

    header: msgspec.Raw = ABSENT
    body: msgspec.Raw = ABSENT


decode_outline = msgspec.json.Decoder(Outline).decode
decode_body = msgspec.json.Decoder(Body).decode
