"""A point of a study under load: the load served on a machine and a model that are already resolved."""

from __future__ import annotations

import json
from typing import Any

from hwsim.arch import Arch, arch_config
from hwsim.jobs.serving.capacity import find_rate
from hwsim.jobs.serving.options import ServeOptions
from hwsim.jobs.serving.simulated import Simulated
from hwsim.jobs.serving.traffic import Traffic
from hwsim.workload.op import Workload

#: Step times that are kept for the next points: neighbours differ in the load more often than in the machine.
KEPT = 4
_steps: dict[str, Simulated] = {}


def serve_point(arch: Arch, model: Workload, options: ServeOptions) -> dict[str, Any]:
    """The result of one point as plain data: what `hwsim serve --json` prints, with what a study's line has beside.

    highest_rate: where it was asked for, in requests per second. raises: InputError.
    """
    traffic = Traffic(arch, options.steady, options.load, model=model)
    key = json.dumps(
        [arch_config(arch), model.config(), options.steps_key(), traffic.load.scheduler, traffic.limits.seats],
        sort_keys=True,
    )
    traffic.steps = _steps.setdefault(key, traffic.steps)
    while len(_steps) > KEPT:
        del _steps[next(iter(_steps))]
    served = traffic.run().served
    config = options.config() | {"model": model.config(), "machine": arch_config(arch)}
    found = served.to_dict() | {
        "name": f"serve, {model.name}",
        "hypothetical": getattr(traffic.arch, "hypothetical", False),
        "phase": "serve",
        "memory": None,
        "limited_by": "-",
        "config": config,
    }
    del found["load"]  # in the config
    if options.find_rate:
        found["highest_rate"] = find_rate(traffic).rate
    return found
