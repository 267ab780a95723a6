"""Evolution: which changes of a schema would break data that is there or programs that read it."""

from headrace.xdm.fields import Field


def breaking_changes(before: Field, after: Field, path: str = "") -> list[str]:
    """What breaks between two field trees, in words; empty when only additions were made."""
    where = path or "the root"
    if before.kind != after.kind:
        return [f"{where} changes from {before.kind} to {after.kind}"]
    if before.kind == "object" and bool(before.properties) != bool(after.properties):
        # without declared fields an object is stored as text
        return [f"{where} {'begins' if after.properties else 'ceases'} to declare fields"]
    found = _narrowed(before, after, where)
    for name, child in before.properties.items():
        at = f"{path}.{name}" if path else name
        if name not in after.properties:
            found.append(f"{at} is removed")
        else:
            found += breaking_changes(child, after.properties[name], at)
    for part, suffix in (("items", "[]"), ("values", "{}")):
        old, new = getattr(before, part), getattr(after, part)
        if old is not None and new is not None:
            found += breaking_changes(old, new, f"{path}{suffix}")
    return found


def _narrowed(before: Field, after: Field, where: str) -> list[str]:
    found = []
    if after.enum is not None and (before.enum is None or set(before.enum) - set(after.enum)):
        found.append(f"{where} accepts fewer values")
    for name, text, sign in (
        ("minimum", "a higher minimum", 1), ("maximum", "a lower maximum", -1),
        ("min_length", "a greater least length", 1), ("max_length", "a smaller greatest length", -1),
    ):  # fmt: skip
        old, new = getattr(before, name), getattr(after, name)
        if new is not None and (old is None or sign * (new - old) > 0):
            found.append(f"{where} gets {text}")
    if after.pattern is not None and after.pattern != before.pattern:
        found.append(f"{where} gets another pattern")
    if after.format is not None and after.format != before.format:
        found.append(f"{where} gets another format")
    return found
