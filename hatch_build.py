"""What a wheel carries beside its sources: the shipped machines and models as data that needs no parser."""

import os
import sys
from tempfile import TemporaryDirectory

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Prebuilt(BuildHookInterface):
    """Puts `hwsim/prebuilt/` into a wheel, for `hwsim/files/prebuilt.py`."""

    def initialize(self, version, build_data):
        """Load everything that is shipped with an empty cache folder, and take what is kept there."""
        if version == "editable":
            return  # a checkout changes; it keeps its own
        sys.path.insert(0, self.root)
        self.cache = TemporaryDirectory()
        os.environ["XDG_CACHE_HOME"] = self.cache.name
        from hwsim.arch import arch_names, load_arch
        from hwsim.files.prebuilt import cache_folder, carried_name
        from hwsim.workload import load_model, model_names

        shipped = [*map(load_arch, arch_names()), *map(load_model, model_names())]
        kept = sorted(cache_folder().iterdir())
        if len(kept) != len(shipped):
            raise RuntimeError(f"{len(shipped)} machines and models are shipped, {len(kept)} were kept")
        for file in kept:
            build_data["force_include"][str(file)] = f"hwsim/prebuilt/{carried_name(file)}"

    def finalize(self, version, build_data, artifact_path):
        """Remove the cache folder."""
        if version != "editable":
            self.cache.cleanup()
