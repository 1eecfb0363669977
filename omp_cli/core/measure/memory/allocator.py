"""PyTorch's CUDA caching allocator with its default settings, simulated: how requests become reserved memory.

After c10/cuda/CUDACachingAllocator.cpp: requests are rounded to 512 bytes; up to 1 MiB they are served from segments
of 2 MiB, below 10 MiB from segments of 20 MiB, otherwise from one of their own, rounded to 2 MiB; best fit; a block is
split when enough remains; free neighbours are merged; segments are never given back. One stream.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

MIB = 2**20
ROUND, SMALL, SMALL_SEGMENT, LARGE, LARGE_SEGMENT, SEGMENT_ROUND = 512, MIB, 2 * MIB, 10 * MIB, 20 * MIB, 2 * MIB


@dataclass(eq=False)
class Block:
    """A piece of a segment.

    Attributes:
        address: orders the blocks; not a real address.
        size: bytes.
        small: whether it belongs to the pool of small requests.
        used: whether it is handed out.
        before: left neighbour in the segment.
        after: right neighbour in the segment.
    """

    address: int
    size: int
    small: bool
    used: bool = False
    before: Block | None = None
    after: Block | None = None

    def absorb_next(self) -> None:
        """Take in the right neighbour."""
        assert self.after is not None
        self.size += self.after.size
        self.after = self.after.after
        if self.after is not None:
            self.after.before = self


class CachingAllocator:
    """Allocations by key.

    Attributes:
        allocated: bytes in blocks that are handed out (what ``torch.cuda.memory_allocated`` reports).
        reserved: bytes of all segments (``torch.cuda.memory_reserved``); never falls.
    """

    def __init__(self) -> None:
        self.allocated = 0
        self.reserved = 0
        self._top = 0
        self._blocks: dict[int, Block] = {}
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # (size, address), sorted
        self._at: dict[int, Block] = {}

    def malloc(self, key: int, nbytes: int) -> None:
        """Serve a request of ``nbytes`` > 0."""
        size = -(-nbytes // ROUND) * ROUND
        small = size <= SMALL
        block = self._take(size, small) or self._segment(size, small)
        rest = block.size - size
        if rest >= ROUND if small else rest > SMALL:
            right = Block(block.address + size, rest, small, before=block, after=block.after)
            if block.after is not None:
                block.after.before = right
            block.after, block.size = right, size
            self._offer(right)
        block.used = True
        self._blocks[key] = block
        self.allocated += block.size

    def free(self, key: int) -> None:
        """Take back what ``malloc(key, ...)`` handed out."""
        block = self._blocks.pop(key)
        self.allocated -= block.size
        block.used = False
        left, right = block.before, block.after
        if right is not None and not right.used:
            self._withdraw(right)
            block.absorb_next()
        if left is not None and not left.used:
            self._withdraw(left)
            left.absorb_next()
            block = left
        self._offer(block)

    def _take(self, size: int, small: bool) -> Block | None:
        """The smallest free block that is large enough, lowest address first."""
        free = self._free[small]
        index = bisect_left(free, (size, -1))
        return self._at.pop(free.pop(index)[1]) if index < len(free) else None

    def _segment(self, size: int, small: bool) -> Block:
        """A new segment as one block."""
        own = -(-size // SEGMENT_ROUND) * SEGMENT_ROUND
        whole = SMALL_SEGMENT if small else LARGE_SEGMENT if size < LARGE else own
        block = Block(self._top, whole, small)
        self._top += 2 * whole  # a gap, so that segments are never neighbours
        self.reserved += whole
        return block

    def _offer(self, block: Block) -> None:
        insort(self._free[block.small], (block.size, block.address))
        self._at[block.address] = block

    def _withdraw(self, block: Block) -> None:
        free = self._free[block.small]
        free.pop(bisect_left(free, (block.size, block.address)))
        del self._at[block.address]
