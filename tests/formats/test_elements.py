"""Every code of every element against ml_dtypes, an independent library."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats.elements import E8M0_VALUES, ELEMENTS, INT4, INT8, element

ORACLE = {
    "E5M2": ml_dtypes.float8_e5m2, "E4M3": ml_dtypes.float8_e4m3fn, "E3M2": ml_dtypes.float6_e3m2fn,
    "E2M3": ml_dtypes.float6_e2m3fn, "E2M1": ml_dtypes.float4_e2m1fn,
}  # fmt: skip

TABLE = {  # emax, max normal, min normal, min subnormal: OCP MX v1.0, table 1
    "E5M2": (15, 57344, 2**-14, 2**-16), "E4M3": (8, 448, 2**-6, 2**-9), "E3M2": (4, 28, 0.25, 0.0625),
    "E2M3": (2, 7.5, 1, 0.125), "E2M1": (2, 6, 1, 0.5), "INT8": (0, 127 / 64, 1, 1 / 64),
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLE)
def test_every_code_has_the_right_value(name):
    ours = np.array(element(name).values)
    oracle = np.arange(1 << element(name).bits, dtype=np.uint8).view(ORACLE[name]).astype(np.float64)
    np.testing.assert_array_equal(ours, oracle)
    np.testing.assert_array_equal(np.signbit(ours)[~np.isnan(ours)], np.signbit(oracle)[~np.isnan(oracle)])


def test_int8_is_code_over_64():
    np.testing.assert_array_equal(INT8.values, np.arange(256, dtype=np.uint8).view(np.int8) / 64.0)
    assert INT4.values == (*range(8), *range(-8, 0))


def test_e8m0_equals_ml_dtypes():
    oracle = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    np.testing.assert_array_equal(E8M0_VALUES, oracle)


@pytest.mark.parametrize("name", TABLE)
def test_range(name):
    it = element(name)
    least_normal = 2.0**it.emin
    assert (it.emax, it.max_normal, least_normal, 2.0**it.quantum_exponent) == TABLE[name]
    finite = np.isfinite(it.values)
    np.testing.assert_array_equal(np.array(it.values)[finite], np.array(it.integers)[finite] * 2.0**it.quantum_exponent)


def test_unknown_element():
    with pytest.raises(InputError, match="did you mean E2M1"):
        element("e2m1x")
    assert set(ELEMENTS) == set(TABLE)
