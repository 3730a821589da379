"""A worker's end of the link to its parent."""

import asyncio
import socket

from service.process.frames import Channel, Frame, Kind
from service.process.parent_link import ANSWER_SECONDS, MAX_UNSENT, ParentLink

READING = bytes(2**20)


def test_a_parent_that_is_stopped_costs_a_worker_little_memory_and_no_time() -> None:
    async def report() -> tuple[int, float]:
        ours, theirs = socket.socketpair()
        with theirs:
            Channel(theirs).send(Frame(Kind.EARLIER))
            async with ParentLink(ours) as link:
                assert link.is_connected
                link.read = lambda: READING
                for number in range(32):
                    link._report(number)
                assert link._writer is not None
                held = link._writer.transport.get_write_buffer_size()
                began = asyncio.get_running_loop().time()
                assert await link.collect(READING, ask=True) is None
                took = asyncio.get_running_loop().time() - began
                theirs.close()
        return held, took

    held, took = asyncio.run(report())
    assert held < MAX_UNSENT + 2 * len(READING)
    assert took < ANSWER_SECONDS
