"""`genlip push`: what it says, and that a dry run sends nothing."""

import pytest

from genlip.cli.main import main

from ..export.helpers import model_folder
from ..export.hub_standin import TOKEN, closed_port, hub_at, running_hub


@pytest.fixture
def folder(tmp_path):
    return model_folder(tmp_path / "model")


def test_a_dry_run_shows_card_and_files_and_needs_no_connection(folder, tmp_path, monkeypatch, capsys):
    hub_at(closed_port(), tmp_path / "home", monkeypatch)
    assert main(["push", str(folder), "owner/tiny", "--dry-run", "--license", "mit", "--data", "Little scenes."]) == 0
    card, _, files = capsys.readouterr().out.partition(f"to owner/tiny, from {folder}:\n")
    assert card.startswith("---\nlicense: mit\n")
    assert "## Data\n\nLittle scenes.\n" in card
    lines = [line.split() for line in files.splitlines()]
    assert [line[2] for line in lines[:-1]] == [
        "README.md", "config.json", "model.safetensors", "preprocessing.json", "tokenizer.json",
    ]  # fmt: skip
    sizes = [int(line[0].replace(",", "")) for line in lines]
    assert sizes[2] == (folder / "model.safetensors").stat().st_size
    assert sizes[-1] == sum(sizes[:-1])
    assert lines[0][-1] == "(new)"
    assert files.endswith("bytes in 5 files; a dry run, so nothing was sent\n")
    assert not (folder / "README.md").exists()


def test_a_push_says_where_the_model_is(folder, tmp_path, monkeypatch, capsys):
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert main(["push", str(folder), "owner/tiny", "--private", "--revision", "v2", "--message", "First words"]) == 0
        assert capsys.readouterr().out == f"published: {hub.url}/owner/tiny/tree/v2\n"
        assert hub.private == {"owner/tiny"}
        assert "model.safetensors" in hub.files("owner/tiny", "v2")
        assert "model.safetensors" not in hub.files("owner/tiny")
        assert main(["push", str(folder), "owner/tiny", "--create-pr", "--overwrite-card", "--data", "More."]) == 0
        assert capsys.readouterr().out == f"published: {hub.url}/owner/tiny/discussions/1\n"
        assert b"More." in hub.files("owner/tiny", "refs/pr/1")["README.md"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}", "tiny"], "'tiny': need the name of a repository as owner/name"),
        (["nowhere", "owner/tiny"], "nowhere: no such folder; need the folder of a model, or of a run with a model/ in it"),
        (
            ["{folder}", "owner/tiny"],
            "owner/tiny: the Hugging Face Hub did not accept it: no connection to http://127.0.0.1:",
        ),
        (["{folder}", "owner/tiny", "--create-pr", "--revision", "v2"], "leave out revision (now 'v2')"),
        (["{folder}", "owner/tiny", "--stray"], "unknown argument --stray; see genlip push --help"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message, folder, tmp_path, monkeypatch, capsys):
    hub_at(closed_port(), tmp_path / "home", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["push", *(argument.format(folder=folder) for argument in arguments)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_help_has_an_example_and_its_python_call(capsys):
    with pytest.raises(SystemExit):
        main(["push", "--help"])
    told = capsys.readouterr().out
    assert "  genlip push runs/quickstart me/my-genlip --dry-run" in told
    assert 'python: genlip.push_model(FOLDER, "owner/name")' in told
