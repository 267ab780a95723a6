"""The checks of flows: whether each account adds up, and what explains those that a stopped server leaves behind."""

from collections.abc import Iterator, Mapping

from headrace.runtime.replay_requests import OPEN
from headrace.services.operator.doctor.accounts import ROLLED_BACK, Account, Books, Replay
from headrace.services.operator.doctor.checks import BAD, NOTE, OK, Check

_KEEP = "stop sending to it; compare `headrace trace` of its receipts; keep the directory as it is"
_LATER = "the next start completes it, nothing is wrong"
_ACTIONS: Mapping[str, str] = {
    ROLLED_BACK: "what it lost is read again where log or source still have it, else the flow stops and says so:"
    " `headrace rewind FLOW --to table` goes on from the rows that are there",
    "table_gone": "restore a backup elsewhere for its rows; `headrace rewind FLOW` says what can be read again",
    "table_unreadable": "see the line of the table",
    "rows_uncounted": "see the line of the table",
    "commits_differ": "the tables are what counts: the next start makes the sums agree; runs and batches that lost their"
    " rows are not told again",
}


def flow_checks(books: Books, *, running: bool) -> Iterator[Check]:
    """A line for each fault of a flow, or one with its balance; then those for rows of nobody."""
    faults = books.faults(running=running)
    for account in sorted(books.accounts.values(), key=lambda a: a.flow_id):
        name = f"flow {account.flow_id}" + (f" ({account.name})" if account.name else "")
        for fault in faults.get(account.flow_id, ()):
            yield Check(name, BAD, fault.detail, _ACTIONS.get(fault.code, _KEEP), fault.code)
        if account.flow_id not in faults:
            yield _explained(name, account, running=running)
    for fault in books.strays:
        yield Check("rows", BAD, fault.detail, "find out who wrote or changed them", fault.code)
    if books.foreign:
        text = f"{books.foreign} rows were appended by others than flows"
        yield Check("rows", NOTE, text, code="foreign_rows")


def _explained(name: str, account: Account, *, running: bool) -> Check:
    if account.dropped:
        text = f"{account}; its data set was deleted, and the rows with it"
        return Check(name, NOTE, text, code="data_set_deleted")
    who = "the server takes" if running else "the next start takes"
    leaving = (
        f"; {account.leaving} of the failed rows have landed by a replay: {who} them out"
        if account.leaving
        else ""
    )
    if account.noted != (account.landed, account.failed):
        text = f"{account}; the last commit is not written down yet: the next start does that"
        return Check(name, NOTE, text + leaving, code="commit_unwritten")
    if account.leaving:
        return Check(name, NOTE, f"{account}{leaving}", code="replay_unfinished")
    return Check(name, OK, f"{account}; rows and commits agree")


def replay_checks(books: Books, *, running: bool) -> Iterator[Check]:
    """Replays that have not come to an end, and rows that one left behind when it was given up; a line a flow."""
    flows: dict[str, list[Replay]] = {}
    for replay in books.replays.values():
        flows.setdefault(replay.flow_id, []).append(replay)
    for flow_id, replays in sorted(flows.items()):
        open_ = [each for each in replays if each.state in OPEN]
        name = f"replays of flow {flow_id}"
        if open_:
            begun = [
                f"{each.id}: {each.landed} of {each.selected} landed"
                for each in open_
                if each.begun
            ]
            waiting = len(open_) - len(begun)
            parts = [*begun, *([f"{waiting} waiting"] if waiting else [])]
            text = f"{'; '.join(parts)}; " + (
                "the server is at it" if running else f"unfinished: {_LATER}"
            )
            yield Check(name, NOTE, text, code="replay_unfinished")
        elif count := books.of(flow_id).leaving:
            text = f"{count} failed rows have landed by a replay that was given up: they are in both tables"
            action = f"`headrace replay {flow_id}` takes them out"
            yield Check(name, BAD, text, action, "replay_left")
