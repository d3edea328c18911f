"""One stack for all tests, from nothing, in file order: the restarts come last."""

from collections.abc import Iterator

import pytest

import stack


@pytest.fixture(scope="session", autouse=True)
def production_stack() -> Iterator[None]:
    if not stack.KEEP:
        stack.up()
    yield
    if not stack.KEEP:
        stack.down()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> None:
    """A failure is easier to read with the server's last lines beside it."""
    if call.when == "call" and call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
        tail = stack.run("docker", "logs", "--tail", "25", stack.SERVER).text
        item.add_report_section("call", "docker logs app_data_temporal_server", tail)
