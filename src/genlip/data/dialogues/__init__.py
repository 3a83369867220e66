"""Dialogues: messages about any number of images, as a multimodal LLM is trained on them."""

from genlip.data.dialogues.dialogue import IMAGE_MARK, Dialogue, DialogueSource, Message
from genlip.data.dialogues.opening import open_dialogues

__all__ = ["IMAGE_MARK", "Dialogue", "DialogueSource", "Message", "open_dialogues"]
