"""A worker's end of the link to its parent."""

import asyncio
import socket
from functools import partial

from service.process.frames import Channel, Frame, Kind, number_payload
from service.process.parent_link import ANSWER_SECONDS, MAX_UNSENT, ParentLink

READING = bytes(2**20)


def test_a_parent_that_is_stopped_costs_a_worker_little_memory_and_no_time() -> None:
    async def report() -> tuple[int, float]:
        loop, sent = asyncio.get_running_loop(), list[bytes]()

        def read() -> bytes:
            sent.append(READING)
            return READING

        ours, theirs = socket.socketpair()
        with theirs:
            Channel(theirs).send(Frame(Kind.EARLIER))
            async with ParentLink(ours) as link:
                assert link.is_connected
                link.read = read
                asked_all = asyncio.Event()
                link.reload = partial(asyncio.to_thread, loop.call_soon_threadsafe, asked_all.set)
                for number in range(32):
                    Channel(theirs).send(Frame(Kind.REPORT, number_payload(number)))
                Channel(theirs).send(Frame(Kind.RELOAD))
                await asked_all.wait()
                held = len(READING) * len(sent)
                began = asyncio.get_running_loop().time()
                assert await link.collect(READING, ask=True) is None
                took = asyncio.get_running_loop().time() - began
                theirs.close()
        return held, took

    held, took = asyncio.run(report())
    assert held < MAX_UNSENT + 2 * len(READING)
    assert took < ANSWER_SECONDS
