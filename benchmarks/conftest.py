"""What every saved benchmark says of its machine: device, threads, versions, commit."""

from typing import Any

from step import DEVICE

from maebench.runs.provenance import describe


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Called by pytest-benchmark before it writes its JSON."""
    machine_info["maebench"] = describe(DEVICE)
