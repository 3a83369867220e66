"""`genlip report`: where the page goes, and what is refused."""

import io

import pytest
from rich.console import Console

from genlip.cli.main import main
from genlip.train.tracking import Tracker


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    with Tracker(folder, 0, console=Console(file=io.StringIO())) as tracker:
        tracker.held_out(5, loss=1.0, picture_gain=0.5)
    return folder


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/nowhere", "nowhere"):
        assert main(["report", folder]) == 1
        assert capsys.readouterr().err.startswith(f"genlip: {folder}: no such folder, and no results of a Hub model of this")


def test_the_page_stands_in_the_run_or_where_it_is_asked_for(run, tmp_path, capsys):
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"page: {run}/run.html\npage: {tmp_path}/page.html\n"
    assert all("Run my run" in page.read_text(encoding="utf8") for page in (run / "run.html", tmp_path / "page.html"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "or name the folder of a run, which holds log.jsonl"),
        (
            ["nowhere"],
            "nowhere: no such folder, and no results of a Hub model of this name in evaluations/nowhere; measure the model "
            "first, as in: genlip eval",
        ),
        (["{run}", "--out", "no/such/page.html"], "--out no/such/page.html: no such folder"),
        (["{run}", "--stray"], "unknown argument --stray; see genlip report --help"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *(argument.format(run=run) for argument in arguments)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_help_has_an_example_and_its_python_call(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    told = capsys.readouterr().out
    assert "  genlip report runs/quickstart" in told
    assert "python: genlip.write_report(RUN)" in told
