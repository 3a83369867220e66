"""`genlip.lazy`: names come from their modules when they are asked for, and others are refused as Python refuses them."""

import pytest

from genlip.lazy import lazy


def test_names_parts_and_what_is_neither():
    found, names = lazy("email", {"Message": "message", "Policy": "policy"}, parts=("mime",))
    from email import mime
    from email.message import Message

    assert found("Message") is Message
    assert found("mime") is mime
    assert names() == ["Message", "Policy", "mime"]
    with pytest.raises(AttributeError, match=r"^module 'email' has no attribute 'Policies'$"):
        found("Policies")
