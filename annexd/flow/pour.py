"""Move a body from where it is to where it goes, at the pace of the slower of the two."""

from __future__ import annotations

from typing import Callable

from annexd.errors import PeerLost, Refused
from annexd.flow.body import FileSink, FileSource, Gathered, Gatherer, Sink, Source, Succession
from annexd.flow.loan import Lender, LentSource, Loan, Turn
from annexd.flow.workers import Workers

_CHUNK = 256 * 1024
_WORTH_A_LOAN = 128 * 1024
"""Below this, setting up a loan costs more than it saves."""

_GATHERED = 1 << 20
"""As much is read into memory before it goes on: a trip to a thread is worth it."""

Moved = Callable[[int], None]


async def pour(source: Source, sink: Sink, moved: Moved) -> None:
    """
    Take all that remains of ``source`` into ``sink``; ``moved`` is told of
    every piece.  Raises what either end raises.
    """
    if isinstance(source, Succession):
        await _pour_parts(source, sink, moved)
        return
    if source.remaining > _WORTH_A_LOAN:
        if isinstance(sink, FileSink) and isinstance(source, LentSource):
            await _receive(source, sink, moved)
        elif isinstance(sink, Gatherer) and isinstance(source, LentSource):
            await _gather(source, sink, sink.workers, moved)
        elif isinstance(source, FileSource) and isinstance(sink, Lender):
            await _send(source, sink, moved)
    await _carry(source, sink, moved)


async def _carry(source: Source, sink: Sink, moved: Moved) -> None:
    while source.remaining:
        data = await source.read(_CHUNK)
        await sink.write(data)
        moved(len(data))


async def _pour_parts(source: Succession, sink: Sink, moved: Moved) -> None:
    """Each part that is a file goes the way of files; what cannot be read of it comes from the next."""
    while isinstance(source.part, FileSource) and isinstance(sink, Lender):
        if source.remaining <= _WORTH_A_LOAN:
            break
        try:
            await _send(source.part, sink, moved)
            break
        except (Refused, OSError) as error:  # of the file: a sink raises `PeerLost`
            await source.go_on(error)
    await _carry(source, sink, moved)


async def _receive(source: LentSource, sink: FileSink, moved: Moved) -> None:
    loan = source.borrow()
    if loan is None:
        return
    try:
        await _leftover(source, loan, sink, moved)
        while source.remaining:
            turn = await _take_turn(source, loan, sink, source.remaining, moved)
            await _turn_over(source, loan, turn)
    finally:
        loan.give_back()


async def _gather(source: LentSource, sink: Sink, workers: Workers, moved: Moved) -> None:
    """The thread reads into memory; what it has got goes on from there."""
    loan = source.borrow()
    if loan is None:
        return
    try:
        await _leftover(source, loan, sink, moved)
        while source.remaining:
            gathered = Gathered(workers)
            try:
                turn = await _take_turn(source, loan, gathered, min(_GATHERED, source.remaining), moved)
            except PeerLost:
                await gathered.pass_on(sink)
                raise
            await gathered.pass_on(sink)
            await _turn_over(source, loan, turn)
    finally:
        loan.give_back()


async def _leftover(source: LentSource, loan: Loan, sink: Sink, moved: Moved) -> None:
    if loan.leftover:
        await sink.write(loan.leftover)
        source.remaining -= len(loan.leftover)
        moved(len(loan.leftover))


async def _take_turn(source: LentSource, loan: Loan, sink: FileSink, most: int, moved: Moved) -> Turn:
    loan.check()
    count, turn = await sink.workers.bulk.run(loan.lent.receive, sink, most)
    source.remaining -= count
    moved(count)
    return turn


async def _turn_over(source: LentSource, loan: Loan, turn: Turn) -> None:
    if turn is Turn.ENDED:
        raise PeerLost(f"the connection ended {source.remaining} bytes before the end of the data")
    if turn is Turn.IDLE:
        await loan.ready()


async def _send(source: FileSource, sink: Sink, moved: Moved) -> None:
    assert isinstance(sink, Lender)
    head = source.take_head()
    if head:
        await sink.write(head)
        moved(len(head))
    loan = sink.borrow()
    if loan is None:
        return
    try:
        await loan.ready()
        while source.remaining:
            loan.check()
            count, turn = await source.workers.bulk.run(
                loan.lent.send, source.fd, source.offset, source.remaining
            )
            source.moved(count)
            moved(count)
            if turn is Turn.ENDED:
                raise Refused("the file became shorter while it was sent")
            if turn is Turn.IDLE:
                await loan.ready()
    finally:
        loan.give_back()
