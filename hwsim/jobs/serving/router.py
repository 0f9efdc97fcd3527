"""Which replica a request goes to. Names as in vLLM's and SGLang's routers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as Many
from random import Random

from hwsim.jobs.serving.replica import Replica
from hwsim.jobs.serving.requests import Sequence


class Router(ABC):
    """Chooses a replica by what it knows when the request arrives; ties go to the first."""

    def __init__(self, seed: int = 0):
        self.random = Random(seed)

    @abstractmethod
    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """The number of the replica."""


class RoundRobin(Router):
    """One after another."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.last = -1

    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """The next one."""
        self.last = (self.last + 1) % len(replicas)
        return self.last


class LeastOutstanding(Router):
    """The one with the fewest requests that have not ended."""

    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """Fewest outstanding."""
        return min(range(len(replicas)), key=lambda i: replicas[i].outstanding)


class LeastKv(Router):
    """The one that holds the fewest blocks, those that its pass has taken among them."""

    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """Fewest blocks, then fewest outstanding."""
        return min(range(len(replicas)), key=lambda i: (replicas[i].used(), replicas[i].outstanding))


class PrefixAffinity(Router):
    """Equal first blocks go to the same replica; requests without keys to the one with the fewest outstanding."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.homes: dict[object, int] = {}

    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """The home of the longest known prefix."""
        keys = seq.request.prefix
        found = next((self.homes[key] for key in reversed(keys) if key in self.homes), None)
        if found is None:
            found = min(range(len(replicas)), key=lambda i: replicas[i].outstanding)
        for key in keys:
            self.homes.setdefault(key, found)
        return found


class TwoChoices(Router):
    """Of two at random, the one with fewer outstanding."""

    def choose(self, replicas: Many[Replica], seq: Sequence) -> int:
        """The better of two."""
        pair = self.random.sample(range(len(replicas)), 2) if len(replicas) > 1 else [0]
        return min(pair, key=lambda i: (replicas[i].outstanding, i))


#: Names of `--router`.
ROUTERS: dict[str, type[Router]] = {
    "round-robin": RoundRobin,
    "least-outstanding": LeastOutstanding,
    "least-kv": LeastKv,
    "prefix-affinity": PrefixAffinity,
    "two-choices": TwoChoices,
}
