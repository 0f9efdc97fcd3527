"""`make pages`: every page of reports/ from the sources of now; those whose sources have not changed are skipped.

reports/pages.json notes for each page a hash of what it is made from and a hash of what was written, so a page that was
edited by hand is written again too. A hash covers the closure of the imports of what writes the page, without comments,
and the data that it reads; not the lock, since a page names the versions that matter to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.files.whole import write_whole
from tests.verification.sources import ROOT, closure, digest, with_data

NOTES = ROOT / "reports" / "pages.json"
ABOUT = "written by `make pages` alone: for each page, hashes of its sources and of its files"
MACHINES = ("arch_configs/**/*.yaml", "hwsim/workload/models/*.yaml", "hwsim/workload/graphs/*.yaml")
UNITS = tuple(f"hwsim/data/{name}.json" for name in ("units", "gates", "asic"))
MEASURED = (*MACHINES, "hwsim/measured/*.yaml", "hwsim/data/groundtruth/*.csv")
STUDIES = tuple(sorted(path.stem for path in (ROOT / "arch_configs" / "studies").glob("*.yaml")))


@dataclass(frozen=True)
class Page:
    """One page, or several that one command writes.

    files:    patterns of what is written, below reports/; the first is the page.
    command:  what writes it; `{py}` is the Python of the environment.
    modules:  what it is written by; data: patterns of files that these read.
    shown:    the command as the page names it.
    long:     takes an hour, so it runs only if asked for.
    """

    name: str
    files: tuple[str, ...]
    command: str
    modules: tuple[str, ...]
    data: tuple[str, ...]
    shown: str
    long: bool = False

    @property
    def sources(self) -> str:
        """Hash of what it is made from."""
        return digest(with_data(closure(self.modules), self.data))

    @property
    def written(self) -> str:
        """Hash of what was written; "" where something is missing."""
        found = [sorted((ROOT / "reports").glob(pattern)) for pattern in self.files]
        return digest(path for paths in found for path in paths) if all(found) else ""


STUDY = ("hwsim.study.work", "hwsim.study.page")
PAGES = (
    Page("nano_h200", ("nano_h200.md", "nano_h200.svg"), "{py} -m hwsim.pages.main_job --page",
         ("hwsim.pages.main_job",), MACHINES, "make report"),
    *(
        Page(f"studies/{name}", (f"studies/{name}.md", f"studies/{name}_*.svg"),
             f"{{py}} -m hwsim study {name} && {{py}} -m hwsim report build/studies/{name} -o reports/studies",
             STUDY, MACHINES, f"hwsim study {name}")
        for name in STUDIES
    ),
    Page("sampling", ("sampling.md", "sampling.svg", "sampling.csv"), "make sampling",
         ("hwsim.pages.sampling", *STUDY), MACHINES, "make sampling"),
    Page("regeneration", ("regeneration.md", "regeneration.svg"), "make regeneration",
         ("hwsim.pages.regeneration",), MACHINES, "make regeneration"),
    Page("cost", ("cost.md", "cost.svg"), "make cost",
         ("hwsim.pages.cost",), UNITS, "make cost"),
    Page("asic", ("asic.md",), "{py} -m hwsim.pages.asic",
         ("hwsim.pages.asic",), UNITS, "make asic"),
    Page("accuracy", ("accuracy.md", "accuracy.svg"), "make accuracy", ("hwsim.pages.accuracy",), (), "make accuracy"),
    Page("validation", tuple(f"{name}.{kind}" for name in ("validation", "serving") for kind in ("md", "svg", "csv")),
         "make validate", ("hwsim.measured.page", "hwsim.measured.serving"), MEASURED, "make validate"),
    Page("graphs", ("graphs.md", "graphs.svg"), "make graphs", ("hwsim.pages.graphs",), MACHINES, "make graphs"),
    Page("training", ("training.md", "training.svg", "training.csv"), "make training",
         ("hwsim.pages.training_page",), MACHINES, "make training", long=True),
    Page("training_steps", ("training_steps.md",), "make training-validate",
         ("hwsim.measured.training_page",), MEASURED, "make training-validate"),
    Page("rtl_agreement", ("rtl_agreement.md", "rtl_decoders.svg"), "make cosim",
         ("tests.verification.cosim",), ("arch_configs/gemv-engine.yaml",), "make cosim"),
    Page("gemv_fpga", ("gemv_fpga.md",), "make fpga-gemv",
         ("tests.verification.gemv_fpga",), (), "make fpga-gemv", long=True),
    Page("accel_fpga", ("accel_fpga.md",), "make fpga-accel",
         ("tests.verification.accel_fpga",), (), "make fpga-accel", long=True),
    Page("verification", ("verification.md",), "make verification",
         ("tests.verification.verify", "tests.verification.verification_page"),
         ("tests/verification/independent.json",), "make verification", long=True),
)  # fmt: skip


def read(path: Path = NOTES) -> dict[str, dict[str, str]]:
    """What was noted: {page: {"sources": hash, "written": hash}}."""
    return json.loads(path.read_text())["pages"] if path.exists() else {}


def shell(command: str) -> bool:
    """Run a command in the root of the project; whether it succeeded."""
    return subprocess.run(command.format(py=sys.executable), shell=True, cwd=ROOT, check=False).returncode == 0  # noqa: S602


def renew(
    pages: Sequence[Page], long: bool, run: Callable[[str], bool] = shell, notes: Path = NOTES, dry: bool = False
) -> dict[str, list[str]]:
    """Write the pages whose sources or files are not those that were noted; returns names by what became of them.

    Each page is noted as soon as it is written, so an interrupted run resumes. dry: only say what would be written.
    """
    found: dict[str, list[str]] = {"written": [], "unchanged": [], "left for LONG=1": [], "failed": []}
    for page in pages:
        before = page.sources
        if read(notes).get(page.name) == {"sources": before, "written": page.written} and page.written:
            found["unchanged"].append(page.name)
        elif page.long and not long:
            found["left for LONG=1"].append(page.name)
        elif dry:
            found["written"].append(page.name)
        elif not run(page.command) or not page.written:
            found["failed"].append(page.name)
        else:
            found["written"].append(page.name)
            noted = read(notes) | {page.name: {"sources": before, "written": page.written}}
            write_whole(notes, json.dumps({"about": ABOUT, "pages": dict(sorted(noted.items()))}, indent=1) + "\n")
    return found


def main() -> int:
    """Renew the pages and list what became of each; status 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="pages by name, separated by commas")
    parser.add_argument("--long", action="store_true", help="also those that take an hour")
    parser.add_argument("--list", action="store_true", help="only list what would be written")
    asked = parser.parse_args()
    only = [name for name in asked.only.split(",") if name]
    if strange := set(only) - {page.name for page in PAGES}:
        print(
            f"no page {', '.join(sorted(strange))}; there are {', '.join(page.name for page in PAGES)}", file=sys.stderr
        )
        return 2
    found = renew([page for page in PAGES if not only or page.name in only], asked.long, dry=asked.list)
    for what, names in found.items():
        if names:
            print(f"{'would be written' if asked.list and what == 'written' else what}: {', '.join(names)}")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
