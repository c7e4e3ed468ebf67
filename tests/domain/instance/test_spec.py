"""Limits as people write them."""

import pytest

from functions.domain.instance.spec import memory_bytes, nano_cpus


@pytest.mark.parametrize(("text", "count"), [("512m", 512 << 20), ("1G", 1 << 30), ("33554432", 32 << 20)])
def test_memory_is_parsed_with_dockers_units(text: str, count: int) -> None:
    assert memory_bytes(text) == count


@pytest.mark.parametrize("text", ["", "1m", "512mb", "-5m", "1e9", "999g", "0x10m", " 512m"])
def test_memory_that_is_malformed_or_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        memory_bytes(text)


@pytest.mark.parametrize(("text", "count"), [("0.5", 500_000_000), ("2", 2_000_000_000), ("0.01", 10_000_000)])
def test_cpu_is_parsed_as_cores(text: str, count: int) -> None:
    assert nano_cpus(text) == count


@pytest.mark.parametrize("text", ["", "0", "0.001", "65", "nan", "1e1", "-1", "1,5"])
def test_cpu_that_is_malformed_or_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cpu"):
        nano_cpus(text)
