"""Serving stacks: files, refusals, and what fused quantising does to a machine's kernels."""

from dataclasses import replace

import pytest

from hwsim.arch import load_arch
from hwsim.arch.servers import Stack
from hwsim.arch.stack import ServingStack, load_stack, stack_folder, stack_names, stack_of
from hwsim.errors import InputError
from hwsim.jobs.serve import Deployment, Request


def test_every_shipped_stack_loads_and_names_its_source():
    for name in stack_names():
        stack = load_stack(name)
        assert stack.name == name and stack.source
        assert 0 <= stack.step_seconds < 1e-2 and 0 <= stack.sequence_seconds < 1e-3


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ndescription: d\nquantise: own\nstep: 2 ms\nsequence: 0 s\nlayer: 3 us\nsource: me\n")
    assert load_stack(path) == ServingStack("mine", "own", 2e-3, 0.0, 3e-6, source="me")


def test_every_fault_of_a_file_at_its_place(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ndescription: d\nquantise: fuse\nstep: 2 m\nsequenc: 0 s\nsource: me\n")
    with pytest.raises(InputError) as found:
        load_stack(path)
    told = "\n".join(found.value.problems)
    assert "mine.yaml:3:11: quantise" in told and "mine.yaml:4:7: step" in told
    assert "did you mean sequence?" in told


def test_a_name_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown stack vlm; did you mean vllm?"):
        load_stack("vlm")
    with pytest.raises(InputError, match="unknown stack"):
        load_stack("../" + stack_folder().name)


def test_the_machine_s_own_times_come_before_the_default():
    arch = load_arch("h100-sxm")
    assert stack_of(arch).name == stack_of(None).name == "default"
    mine = stack_of(replace(arch, stack=Stack(2e-6, step_seconds=5e-4)))
    assert (mine.name, mine.step_seconds, mine.quantise) == ("h100-sxm", 5e-4, "own")
    assert stack_of(replace(arch, stack=Stack(2e-6, step_seconds=5e-4)), "none").step_seconds == 0


def test_fused_quantising_starts_gemms_with_static_scales_like_bf16():
    """The launch of bf16 and the bytes of quantising; bf16, block scales and experts stay as they are."""
    for name in ("h100-sxm", "b200"):
        before = load_arch(name)
        after = ServingStack("x", "fused").on(before)
        wide = before.cores.named("bfloat16")
        for family in before.cores.families:
            changed = family.name in ("fp8", "nvfp4")
            launch = wide.launch_seconds if changed else family.launch_seconds
            assert after.cores.named(family.name) == replace(family, launch_seconds=launch)
        assert after.cores.experts == before.cores.experts
        assert ServingStack("x", "own").on(before) is before


def test_fused_quantising_reaches_a_decode_step():
    """nvfp4 on B200: each of a layer's four GEMMs starts sooner by the difference of the two launches."""
    formats = {"default": "nvfp4", "head": "bf16", "embedding": "bf16"}
    own, fused = (
        Deployment("b200", Request("llama3-8b", 1024, 64, formats, stack=ServingStack("x", rule)))
        for rule in ("own", "fused")
    )
    cores = load_arch("b200").cores
    saved = cores.named("nvfp4").launch_seconds - cores.named("bfloat16").launch_seconds
    difference = own.seconds("decode", 4, 1024) - fused.seconds("decode", 4, 1024)
    assert saved > 0 and difference == pytest.approx(4 * 32 * saved, rel=1e-3)


def test_machines_without_cores_have_no_kernels_to_fuse():
    arch = load_arch("tpu-v4i")
    assert ServingStack("x", "fused").on(arch) is arch
