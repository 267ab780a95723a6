"""Entity tags, compared the way clients send them: quoted, unquoted, weak, or `*`."""


def normalised(text: str) -> str:
    """The tag without `W/` and surrounding quotes."""
    text = text.strip().removeprefix("W/")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text


def matches(if_match: str, current: str) -> bool:
    """Whether an `If-Match` value (a tag, a comma-separated list of tags, or `*`) covers the current tag."""
    wanted = [normalised(part) for part in if_match.split(",")]
    return "*" in wanted or normalised(current) in wanted
