"""How long threads spin: set by commands, before PyTorch is imported, unless the user has set it."""

import os
import subprocess
import sys

import pytest

CODE = "import os; from genlip.spinning import limit_spinning as limit; print(limit(), os.environ.get('GOMP_SPINCOUNT'))"


def told(code: str, **variables: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | variables, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_it_is_set_where_nothing_was():
    found = told(CODE).split()
    assert found[0] == "True"
    assert int(found[1]) > 0


@pytest.mark.parametrize(
    ("variables", "kept"), [({"GOMP_SPINCOUNT": "7"}, "False 7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "False None")]
)
def test_what_the_user_has_set_stays(variables, kept):
    assert told(CODE, **variables) == kept


def test_where_pytorch_is_there_it_is_too_late():
    assert told("import torch; " + CODE) == "False None"


def test_commands_set_it_before_they_import_pytorch_and_functions_do_not():
    see = "; import os; print(os.environ.get('GOMP_SPINCOUNT') is not None)"
    assert told("from genlip.cli import main; main(['train', 'quickstart', '--print-config'])" + see).endswith("True")
    assert told("import genlip; genlip.load_recipe('quickstart')" + see) == "False"
