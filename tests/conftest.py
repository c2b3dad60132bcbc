"""What all tests share."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Nothing that a test keeps for later runs gets into the user's cache folder; subprocesses inherit it."""
    os.environ["FUNRECIPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
