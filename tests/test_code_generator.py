"""What is counted in ulps holds with XLA's default code generator too; see conftest.py."""

import os
import pathlib
import subprocess
import sys

import pytest

FILES = ("test_certificate.py", "test_losses.py", "test_numerics.py")


@pytest.mark.skipif(not os.environ.get("XLA_FLAGS"), reason="all tests run with the default one")
def test_ulps_with_the_default_code_generator():
    paths = [pathlib.Path(__file__).parent / file for file in FILES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "ulps", *paths],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
