"""vLLM's rules again, with physical blocks, a free list and hashes, one pass at a time: slow, and nothing of ours."""

from collections import OrderedDict


class Blocks:
    def __init__(self, count):
        self.free = OrderedDict((i, None) for i in range(count))
        self.hash = [None] * count
        self.users = [0] * count

    def find(self, key):
        found = [i for i, h in enumerate(self.hash) if h == key]
        return min(found, key=lambda i: self.order[i]) if found else None

    order: dict = {}

    def take(self):
        i, _ = self.free.popitem(last=False)
        self.hash[i] = None
        self.users[i] = 1
        return i

    def give(self, i):
        self.users[i] -= 1
        if not self.users[i]:
            self.free[i] = None


def served(requests, blocks, size, budget, seats, seconds):
    """{number: (first, last, preemptions)} of requests (number, arrival, prompt, answer, keys), times in ticks.

    seconds(decodes, sum of contexts, chunks): ticks of a pass.
    """
    pool = Blocks(blocks)
    pool.order = {}
    state = {
        n: {"n": n, "prompt": p, "answer": a, "keys": k, "computed": 0, "made": 0, "blocks": [], "paused": 0}
        for n, _, p, a, k in requests
    }
    coming, waiting, running, now, done = sorted(requests, key=lambda r: (r[1], r[0])), [], [], 0, {}
    count = 0

    def key(s, i):
        return s["keys"][i] if i < len(s["keys"]) else ("own", s["n"], i)

    def need(tokens):
        return -(-tokens // size)

    def name(s, tokens):
        nonlocal count
        for i in range(tokens // size):
            b = s["blocks"][i]
            if pool.hash[b] is None:
                pool.hash[b] = key(s, i)
                count += 1
                pool.order[b] = count

    while coming or waiting or running:
        while coming and coming[0][1] <= now:
            waiting.append(state[coming.pop(0)[0]])
        left, work, paused, at = budget, [], False, 0
        while at < len(running) and left:
            s = running[at]
            tokens = min(s["prompt"] + s["made"] - s["computed"], left)
            mine = True
            while need(s["computed"] + tokens) - len(s["blocks"]) > len(pool.free):
                v = running.pop()
                for b in reversed(v["blocks"]):
                    pool.give(b)
                v["blocks"], v["computed"] = [], 0
                v["paused"] += 1
                waiting.insert(0, v)
                paused = True
                if v is s:
                    mine = False
                    break
            if not mine:
                break
            while len(s["blocks"]) < need(s["computed"] + tokens):
                s["blocks"].append(pool.take())
            name(s, s["computed"] + tokens)
            work.append((s, tokens))
            left -= tokens
            at += 1
        while not paused and waiting and left and len(running) < seats:
            s, total = waiting[0], waiting[0]["prompt"] + waiting[0]["made"]
            hits = []
            for i in range((total - 1) // size):
                b = pool.find(key(s, i))
                if b is None:
                    break
                hits.append(b)
            idle = sum(1 for b in hits if not pool.users[b])
            if need(total) - len(hits) + idle > len(pool.free):
                break
            for b in hits:
                if not pool.users[b]:
                    del pool.free[b]
                pool.users[b] += 1
            s["blocks"], s["computed"] = list(hits), len(hits) * size
            tokens = min(total - s["computed"], left)
            while len(s["blocks"]) < need(s["computed"] + tokens):
                s["blocks"].append(pool.take())
            name(s, s["computed"] + tokens)
            waiting.pop(0)
            running.append(s)
            work.append((s, tokens))
            left -= tokens
        if not work:
            now = coming[0][1]
            continue
        decodes = [s for s, _ in work if s["made"] and s["prompt"] + s["made"] - s["computed"] == 1]
        chunks = [(t, s["computed"]) for s, t in work if s not in decodes]
        now += seconds(len(decodes), sum(s["computed"] for s in decodes), chunks)
        for s, tokens in work:
            s["computed"] += tokens
            if s["computed"] == s["prompt"] + s["made"]:
                s["made"] += 1
                s.setdefault("first", now)
                if s["made"] == s["answer"]:
                    done[s["n"]] = (s["first"], now, s["paused"])
                    running.remove(s)
                    for b in reversed(s["blocks"]):
                        pool.give(b)
    return done
