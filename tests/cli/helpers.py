"""The error line of a command that fails."""

import pytest

from genlip.cli.main import main


def error_line(capsys, *arguments):
    """The one line that a failing command prints."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) not in (0, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("genlip: ")
    return line


def usage_line(capsys, *arguments):
    """The one line of arguments that cannot be read."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
