"""The KV pool: blocks of tokens, taken and given back; with a prefix cache, found again by the hash of their content.

Rules of vLLM V1 (vllm/v1/core/kv_cache_manager.py, block_pool.py, 2026): only full blocks have a hash; a block given
back keeps it and goes to the tail of the free list, a sequence's last block first; a block is taken from the head and
forgets its hash. So which physical block a sequence gets does not matter, only how many are taken from the head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from hwsim.jobs.serving.requests import Sequence


class Block:
    """A block with a key. users: sequences that hold it; stamp: how often it was given back."""

    __slots__ = ("key", "users", "stamp")

    def __init__(self, key: Hashable, users: int = 1):
        self.key, self.users, self.stamp = key, users, 0


class Pool:
    """`blocks` blocks of `size` tokens.

    fixed: blocks that every sequence holds beside its tokens (state that is not paged). paged: whether tokens take
    blocks at all. caching: whether blocks are found again by their content.
    """

    def __init__(self, blocks: int, size: int = 16, fixed: int = 0, paged: bool = True, caching: bool = True):
        self.blocks = self.free = blocks
        self.size, self.fixed, self.paged, self.caching = size, fixed, paged, caching
        self.known: dict[Hashable, list[Block]] = {}
        #: The free list: runs of blocks without a key, and blocks with one (valid while the stamp is theirs).
        self.queue: deque[int | tuple[Block, int]] = deque([blocks])

    def need(self, tokens: int) -> int:
        """Blocks that a sequence of so many tokens holds."""
        return self.fixed + (-(-tokens // self.size) if self.paged else 0)

    @property
    def used(self) -> int:
        """Blocks that sequences hold."""
        return self.blocks - self.free

    def grow(self, seq: Sequence, tokens: int) -> bool:
        """Take the blocks that `seq` lacks for `tokens`; False, and none taken, if there are not as many."""
        more = self.need(tokens) - len(seq.held) - seq.own
        if more <= 0:
            return True
        if more > self.free:
            return False
        self.take(more)
        seq.own += more
        return True

    def take(self, count: int) -> None:
        """Take blocks from the head of the free list; their content is forgotten."""
        self.free -= count
        if not self.caching:
            return
        queue = self.queue
        while count:
            head = queue[0]
            if isinstance(head, int):
                if head > count:
                    queue[0] = head - count
                    return
                count -= head
                queue.popleft()
                continue
            block, stamp = head
            queue.popleft()
            if block.users == 0 and block.stamp == stamp:
                self._forget(block)
                block.stamp += 1
                count -= 1

    def hits(self, seq: Sequence) -> list[Block]:
        """The blocks at the head of `seq` that are still there; the last token is always computed."""
        keys, known, found = seq.request.prefix, self.known, []
        if not self.caching or not (keys or seq.preemptions):
            return []
        for i in range((seq.total - 1) // self.size):
            key: Hashable = keys[i] if i < len(keys) else (seq.request.number, i)
            blocks = known.get(key)
            if not blocks:
                break
            found.append(blocks[0])
        return found

    def fits(self, hits: list[Block], tokens: int) -> bool:
        """Whether the free blocks hold a sequence of `tokens` of which `hits` are there."""
        return self.need(tokens) - sum(1 for block in hits if block.users) <= self.free

    def admit(self, seq: Sequence, hits: list[Block], tokens: int) -> bool:
        """Give `seq` its hits and the blocks for `tokens` in all; False, and nothing done, if they do not fit."""
        if not self.fits(hits, tokens):
            return False
        for block in hits:
            if not block.users:
                self.free -= 1
                block.stamp += 1  # its place in the free list no longer counts
            block.users += 1
        seq.held = list(hits)
        more = self.need(tokens) - len(hits)
        self.take(more)
        seq.own = more
        return True

    def learn(self, seq: Sequence, tokens: int) -> None:
        """Full blocks up to `tokens` whose keys the request states can be found from now on."""
        keys = seq.request.prefix
        if not self.caching or len(seq.held) >= len(keys):
            return
        for i in range(len(seq.held), min(len(keys), tokens // self.size)):
            block = Block(keys[i])
            self.known.setdefault(block.key, []).append(block)
            seq.held.append(block)
            seq.own -= 1

    def release(self, seq: Sequence, again: bool = False) -> None:
        """Take all blocks back. again: it was preempted, and will look for its own blocks."""
        if not self.caching:
            self.free += len(seq.held) + seq.own
            seq.held, seq.own = [], 0
            return
        full = seq.computed // self.size if self.paged else 0
        private = max(0, full - len(seq.held)) if again else 0
        rest = seq.own - private
        if rest:
            self.queue.append(rest)
            self.free += rest
        for i in range(len(seq.held) + private - 1, len(seq.held) - 1, -1):
            block = Block((seq.request.number, i), 0)
            self.known.setdefault(block.key, []).append(block)
            self._give(block)
        for block in reversed(seq.held):
            block.users -= 1
            if not block.users:
                self._give(block)
        seq.held, seq.own = [], 0

    def _give(self, block: Block) -> None:
        block.stamp += 1
        self.queue.append((block, block.stamp))
        self.free += 1

    def _forget(self, block: Block) -> None:
        same = self.known[block.key]
        same.remove(block)
        if not same:
            del self.known[block.key]

    def leaks(self) -> bool:
        """Whether the free list and the count of free blocks disagree; for tests."""
        if not self.caching:
            return False
        there = 0
        for each in self.queue:
            there += each if isinstance(each, int) else int(each[0].users == 0 and each[0].stamp == each[1])
        return there != self.free
