"""The asyncio client behind the blocking client's face, so that one text tests both.

`OnALoop` keeps an event loop in a thread of its own and awaits there whatever is called here. It
adds nothing: what a test sees is what AsyncStatehouse does.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading

from statehouse_sdk import AsyncAsOf, AsyncStatehouse, AsyncSubscription

CALL_S_MAX = 120
HANDLES = (AsyncAsOf, AsyncSubscription)
_NO_MORE = object()


class OnALoop:
    """As Statehouse, on an AsyncStatehouse."""

    def __init__(self, *arguments, **options):
        self._client = AsyncStatehouse(*arguments, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop-of-a-test")
        self._lock = threading.Lock()
        self._ended = False
        self._thread.start()

    def __getattr__(self, name):
        return _facing(getattr(self._client, name), self._wait)

    def begin_transaction(self, *arguments, **options):
        return _Transaction(self._client.begin_transaction(*arguments, **options), self._wait)

    def transact(self, fn, **options):
        async def on_the_loop(tx):
            return await asyncio.to_thread(fn, _Transaction(tx, self._wait))

        return self._wait(self._client.transact(on_the_loop, **options))

    def close(self):
        """Closes the client; it may be asked again, as tests do, until the test ends."""
        self._wait(self._client.close())

    def end(self):
        """Closes the client and its loop, on which nothing may be left."""
        self.close()
        left = self._wait(_others())
        self._wait(self._loop.shutdown_asyncgens())
        self._wait(self._loop.shutdown_default_executor())
        with self._lock:
            self._ended = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S_MAX)
        self._loop.close()
        assert left == [], f"tasks outlive the client: {left}"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def _wait(self, awaitable):
        with self._lock:
            if self._ended:
                awaitable.close()
                raise RuntimeError("the loop of this test is over")
            future = asyncio.run_coroutine_threadsafe(awaitable, self._loop)
        return future.result(CALL_S_MAX)


class _Transaction:
    """As Transaction, on an AsyncTransaction."""

    def __init__(self, tx, wait):
        self._tx = tx
        self._wait = wait

    def __getattr__(self, name):
        return _facing(getattr(self._tx, name), self._wait)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._wait(self._tx.__aexit__(*error))


class _Handle:
    """As AsOf and Subscription, on what the asyncio client gives in their place."""

    def __init__(self, inner, wait):
        self._inner = inner
        self._wait = wait

    def __getattr__(self, name):
        return _facing(getattr(self._inner, name), self._wait)

    def __iter__(self):
        async def begun():
            return aiter(self._inner)

        return _iterate(self._wait(begun()), self._wait)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._wait(self._inner.__aexit__(*error))

    def __repr__(self):
        return repr(self._inner)


def _facing(member, wait):
    """A member as the blocking client has it: calls that wait, iterators that block."""
    if not inspect.ismethod(member):
        return member

    def call(*arguments, **options):
        arguments = [getattr(argument, "_inner", argument) for argument in arguments]
        if inspect.iscoroutinefunction(member):
            told = wait(member(*arguments, **options))
            return _Handle(told, wait) if isinstance(told, HANDLES) else told

        async def called():
            return member(*arguments, **options)

        told = wait(called())
        return _iterate(told, wait) if inspect.isasyncgen(told) else told

    return call


def _iterate(told, wait):
    async def following():
        return await anext(told, _NO_MORE)

    async def closed():
        await told.aclose()

    try:
        while (item := wait(following())) is not _NO_MORE:
            yield item
    finally:
        with contextlib.suppress(RuntimeError):
            wait(closed())


async def _others():
    """The tasks that are there for good: gRPC's own end a moment after what they served."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, others = await asyncio.wait(others, timeout=CALL_S_MAX / 2)
    return list(others)
