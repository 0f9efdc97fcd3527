"""docs/adding.md (e): threads as a new executor of studies, chosen on the command line."""

import json

from tests.docs.addition import Copy, listed

STUDY = "name: grid\nmachine: m0\nmodel: llama3-8b\nrun: {weights: int8, context: 64}\ngrid: {run.batch: [1, 2, 3]}\n"

THREADS = '''@contextmanager
def mine(workers: int) -> Iterator[Executor]:
    """Threads of this process."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        yield pool

'''


def test_an_executor_is_one_file(tmp_path):
    copy = Copy(tmp_path)
    copy.before("hwsim/study/executors.py", "#: Executors by the name", THREADS)
    copy.row("hwsim/study/executors.py", '"processes": processes,', '    "mine": mine,')
    assert copy.touched == listed("(e)")
    (tmp_path / "grid.yaml").write_text(STUDY)
    copy.run("-m", "hwsim", "study", "grid.yaml", "--out", "out", "--executor", "mine", "--workers", "2")
    lines = [json.loads(line) for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and not any(line["error"] for line in lines)
