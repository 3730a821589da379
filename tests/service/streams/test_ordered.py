import asyncio

from service.api.batch.ordered_results import OrderedResults


def test_results_come_in_the_order_in_which_they_were_begun_however_long_they_take() -> None:
    async def run() -> list[int]:
        results: OrderedResults[int] = OrderedResults(10)
        for index in range(5):
            await results.reserve()
            results.put(asyncio.ensure_future(asyncio.sleep(0.02 if index % 2 == 0 else 0, index)))
        results.end()
        return [result async for result in results]

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_room_is_made_by_the_step_after_a_result_was_handed_out() -> None:
    async def run() -> None:
        results: OrderedResults[str] = OrderedResults(1)
        await results.reserve()
        results.put(asyncio.ensure_future(asyncio.sleep(0, "first")))
        waiting = asyncio.ensure_future(results.reserve())
        assert await anext(results) == "first"
        await asyncio.sleep(0.01)
        assert not waiting.done()
        following = asyncio.ensure_future(anext(results))
        await asyncio.wait_for(waiting, 60)
        results.put(asyncio.ensure_future(asyncio.sleep(0, "second")))
        assert await following == "second"

    asyncio.run(run())
