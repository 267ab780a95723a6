"""Events of Azure Event Hubs that trickle in are handed on as they come, and many are read in large steps."""

import threading
import time
from contextlib import closing

from azure.eventhub import EventData, EventHubProducerClient

from headrace.sources.contract import EARLIEST, Settings
from headrace.sources.event_hubs import open_source
from headrace.sources.event_hubs_client import SAS
from headrace.sources.event_hubs_receiver import BATCH, Steps
from headrace.testing.event_hubs import Emulator


def test_events_that_trickle_in_do_not_wait_for_each_other() -> None:
    waits: list[float] = []
    with Emulator({"events": 1}) as emulator:
        auth = {"sasKeyName": "policy", "sasKey": "any", "namespace": "headrace",
                "endpointUrl": f"amqp://127.0.0.1:{emulator.port}"}  # fmt: skip
        settings = Settings(SAS, auth, {"eventHubName": "events"}, "flow")
        text = emulator.connection_string("events")
        with (
            EventHubProducerClient.from_connection_string(text) as producer,
            closing(open_source(settings)) as source,
        ):

            def trickle() -> None:
                for _ in range(100):
                    producer.send_batch([EventData(repr(time.time()).encode())])
                    time.sleep(0.01)

            position = source.start("0", EARLIEST)
            sending = threading.Thread(target=trickle, daemon=True)
            sending.start()
            until = time.monotonic() + 15
            while len(waits) < 100 and time.monotonic() < until:
                chunk = source.read("0", position, 1000, 0.1)
                position = chunk.next
                waits += [time.time() - float(message.body) for message in chunk.messages]
            sending.join(10)
    assert len(waits) == 100
    assert sorted(waits)[50] < 0.3, "half of them come at once"


class Service:
    """Takes `pause` seconds of a clock of its own for every frame."""

    def __init__(self, pause: float) -> None:
        self.pause, self.time, self.credit = pause, 0.0, BATCH
        self.asked: list[int] = []

    def work(self, batch: int) -> None:
        self.asked.append(batch)
        self.time += batch * self.pause
        self.credit -= batch
        if self.credit <= 0:
            self.credit = BATCH

    def steps(self, turns: int) -> list[int]:
        step = Steps(self.work, lambda: self.credit, lambda: self.time)
        for _ in range(turns):
            step()
        return self.asked[-turns:]


def test_steps_follow_the_speed_at_which_frames_come() -> None:
    fast = Service(0.00001).steps(10)
    assert fast == [BATCH] * 10
    slow = Service(0.01).steps(50)[4:]
    assert max(slow) <= 16, "no more than can be waited for"
    service = Service(0.01)
    service.steps(10)
    service.pause = 0.00001
    assert BATCH in service.steps(30), "large again when many come"


def test_nobody_waits_for_more_events_than_the_service_may_send() -> None:
    service = Service(0.00001)
    service.credit = 40
    assert service.steps(1) == [40]
    service.credit = 7
    assert service.steps(1) == [7]
