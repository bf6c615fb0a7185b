"""The stubs are those of the module."""

import subprocess
import sys


def test_stubs_match_the_module():
    checked = subprocess.run([sys.executable, "-m", "mypy.stubtest", "vitraux", "--ignore-missing-stub"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
