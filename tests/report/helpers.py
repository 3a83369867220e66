"""Texts, captions and readouts for pages, and a parser that checks their markup."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

from PIL import Image

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.speaker import PatchWords

EVIL = "<script src='x'>&\"</script>"
VOID = {"img", "meta", "br", "hr", "link", "input"}
SVG = "{http://www.w3.org/2000/svg}"


class Checker(HTMLParser):
    """Collects tags, texts and addresses; fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def spoken(caption: str, said: str) -> GeneratedCaption:
    return GeneratedCaption("key", Image.new("RGB", (8, 8), "red"), caption, said)


def readout_2_by_3() -> PatchWords:
    words = [[(f" w{i}", 0.5), ("<|im_end|>", 0.25), (" ", 0.125)] for i in range(6)]
    return PatchWords((2, 3), words)


def image_of(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def svg_of(html: str) -> ET.Element:
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
