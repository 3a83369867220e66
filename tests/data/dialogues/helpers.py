"""What the tests of dialogues share: messages in the published forms, and what is said of those that cannot be read."""

import io
import json
import tarfile

import pytest

from genlip.data.dialogues import Message
from genlip.data.examples import Unusable

MARK = "<image>"


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def turns(*texts):
    """The messages of user and assistant in turn."""
    return tuple(Message(("user", "assistant")[place % 2], text) for place, text in enumerate(texts))


def refused(source, index=0):
    """(reason, message) of a sample that cannot be used."""
    with pytest.raises(Unusable) as error:
        source[index]
    message = str(error.value)
    assert "\n" not in message
    return error.value.reason, message


def write_json(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, rows)) if path.suffix == ".jsonl" else json.dumps(rows)
    path.write_text(text, encoding="utf8")
    return str(path)


def write_tar(path, members):
    """A tar of (name, data); a dict or list is written as JSON, a text as UTF-8."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members:
            data = json.dumps(data) if isinstance(data, (dict, list)) else data
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(path)
