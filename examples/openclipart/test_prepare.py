"""prepare.py on tiny folders: every expected caption and split is written out by hand."""

import json
from pathlib import Path, PurePosixPath

import numpy as np
import prepare
import pytest
from PIL import Image

METADATA = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
         xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<cc:Work><dc:title>{title}</dc:title><dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>
<dc:publisher><cc:Agent><dc:title>Open Clip Art Library</dc:title></cc:Agent></dc:publisher>
<dc:creator><cc:Agent><dc:title>{author}</dc:title></cc:Agent></dc:creator>
<cc:license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata>{body}</svg>"""
PUBLIC_DOMAIN = "http://web.resource.org/cc/PublicDomain"
BOMB = '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><svg>&b;</svg>'


class Library:
    """Two folders like those of Debian's packages."""

    def __init__(self, root: Path):
        self.png, self.svg, self.out = root / "png", root / "svg", root / "out"

    def add(self, path, title, keywords=(), author="", image=None, licence=PUBLIC_DOMAIN, body="", svg=None):
        """One drawing; its image is unlike all others unless given, `svg` replaces the metadata."""
        listed = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
        text = METADATA.format(title=title, keywords=listed, author=author, licence=licence, body=body)
        for folder, suffix in ((self.png, "png"), (self.svg, "svg")):
            (folder / f"{path}.{suffix}").parent.mkdir(parents=True, exist_ok=True)
        (self.svg / f"{path}.svg").write_text(svg or text, encoding="utf-8")
        (image or blocks(sum(path.encode()))).save(self.png / f"{path}.png")

    def run(self, held_out=0.0, seed=0, size=64):
        """Prepare the library; captions of both splits by drawing, and the summary."""
        summary = prepare.prepare(self.out, self.png, self.svg, size, held_out, seed)
        return self.captions("train"), self.captions("heldout"), summary

    def captions(self, split):
        rows = [json.loads(line) for line in (self.out / f"{split}.jsonl").read_text().splitlines()]
        assert all((self.out / row["path"]).is_file() for row in rows)
        return {row["path"].removeprefix("images/").removesuffix(".png"): row["caption"] for row in rows}


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


def blocks(seed, side=48):
    """An image of 4 x 4 random colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)


def recoloured(image):
    """The same drawing in other colours: the blue channel takes the red one's place and so on."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, red, green))


# Reading.


def test_metadata_becomes_a_drawing(library):
    library.add("food/fruit/apple_01", " Red Apple ", ["food", "apple"], author="Ann Lee")
    found = prepare.read_drawing(library.png, library.svg, PurePosixPath("food/fruit/apple_01"))
    assert (found.title, found.author, found.keywords) == ("Red Apple", "Ann Lee", ("food", "apple"))


def test_unusable_drawings_are_counted_by_reason(library):
    library.add("food/apple", "Apple")
    library.add("food/broken", "", svg="<svg><unclosed></svg>")
    library.add("food/bomb", "", svg=BOMB)
    library.add("food/bare", "", svg="<svg/>")
    library.add("food/gpl", "Pear", licence="http://creativecommons.org/licenses/GPL/2.0/")
    library.add("food/silent", "Grape", licence="")
    library.add("food/elsewhere", "Plum", body='<image xlink:href="/home/ann/plum.png"/>')
    library.add("food/embedded", "Cherry", body='<image xlink:href="data:image/png;base64,AA=="/>')
    library.add("food/blank", "Lemon", image=Image.new("RGB", (40, 40), "white"))
    library.add("food/thin", "Leek", image=blocks(1).resize((64, 3)))
    library.add("food/torn", "Melon")
    (library.png / "food/torn.png").write_bytes(b"not a PNG")
    library.add("food/lonely", "Fig")
    (library.svg / "food/lonely.svg").unlink()
    (library.png / "food/link.png").symlink_to("apple.png")
    train, _, summary = library.run()
    assert set(train) == {"food/apple", "food/embedded", "food/silent"}
    assert "found     13 drawings\nkept      3\nskipped   10" in summary
    for reason in (
        "SVG is broken XML",
        "SVG declares XML entities",
        "SVG has no metadata",
        "SVG is not in the public domain by its own metadata",
        "SVG shows an image file that it does not bring",
        "image is blank",
        "image is under 8 pixels",
        "PNG is broken",
        "no SVG of that name",
        "link to another drawing",
    ):
        assert f"     1  {reason}" in summary


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(encoding):
    with pytest.raises(prepare.Skip, match="declares XML entities"):
        prepare.parse_xml(BOMB.encode(encoding))


def test_an_image_with_too_many_pixels_is_skipped(library, monkeypatch):
    library.add("food/huge", "Pie", image=blocks(1, side=64))
    for limit in (64 * 64 - 1, 64 * 64 // 2 - 1):  # where Pillow warns, and where it raises
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(prepare.Skip, match="too many pixels"):
            prepare.load_image(library.png / "food/huge.png", 64)


# Captions.


@pytest.mark.parametrize("title", ["", "untitled", "Unnamed Drawing", "42", "0x8b754fc", "тест"])
def test_drawings_without_a_useful_name_are_skipped(library, title):
    library.add("food/70a001", title)
    library.add("food/apple", "Apple")
    train, _, summary = library.run()
    assert set(train) == {"food/apple"}
    assert "1  no useful name" in summary


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tigre01", "tigre"),
        ("arrow-RIGHT_b", "arrow right"),
        ("filmPhoto3", "film photo"),
        ("star_92pt15step", "star"),
        ("Lime (Half) (B and W)", "lime half black and white"),
        ("glace_2_bw", "glace black and white"),
        ("Rubik&#39;s Cube", "rubiks cube"),
        ("Castilla y León", "castilla leon"),
        ("Telefono (email: ann@lee.it)", "telefono email"),
        ("sheep-md-v0.1", "sheep"),
    ],
)
def test_words(text, words):
    assert " ".join(prepare.to_words(text)) == words


def test_a_title_wins_over_the_file_name_unless_it_names_a_collection(library):
    library.add("tools/bb", "Claw Hammer")
    library.add("tools/saw_ann_le_01", "Clipart by Ann Lee - drill", author="Ann Lee")
    for stem in ("printer", "mouse", "screen", "70a001"):
        library.add(f"computer/{stem}", "Lemon SVG theme")
    for number in range(4):
        library.add(f"people/clown_{number}", "Clown")
    train, _, _ = library.run()
    assert train["tools/bb"] == "tools: claw hammer"
    assert train["tools/saw_ann_le_01"] == "tools: saw"
    assert train["computer/mouse"] == "computer: mouse"
    assert train["computer/70a001"] == "computer: lemon theme"
    assert train["people/clown_3"] == "people: clown"


def test_kinds_are_folders_and_shared_keywords(library):
    keywords = ["", "signs_and_symbols", "Animal", "cats", "wild", "hash(0x8a39378)", "dangerous"]
    for letter in "abcdefgh":
        library.add(f"animals/mammals/big_cats/{letter}lion", f"{letter}lion", keywords)
    library.add("animals/newt", "Newt", ["rare"])
    library.add("signs_and_symbols/flags/europe/france/brittany", "Brittany", ["wild"])
    library.add("unsorted/thing", "Thing", ["rare"])
    train, _, summary = library.run()
    assert (
        train["animals/mammals/big_cats/alion"] == "animals, mammals, big cats, wild, dangerous: alion"
    )  # 9 before 8 drawings
    assert train["animals/newt"] == "animals: newt"
    assert train["signs_and_symbols/flags/europe/france/brittany"] == "signs, flags, europe, wild: brittany"
    assert "1  no folder or shared keyword" in summary


def test_captions_are_short_and_repeat_a_bounded_number_of_times(library):
    library.add("a_b_c/d_e_f/g_h_i/j", " ".join(f"{letter}word" for letter in "abcdefghijklmnop"))
    for number in range(prepare.MAX_PER_CAPTION + 3):
        library.add(f"shapes/star_{number:02d}", "Star")
    train, _, summary = library.run()
    assert max(len(caption.split()) for caption in train.values()) <= 20
    assert list(train.values()).count("shapes: star") == prepare.MAX_PER_CAPTION
    assert f"3  caption was used {prepare.MAX_PER_CAPTION} times" in summary


# Images.


def test_images_are_small_rgb_over_white(library):
    drawing = Image.new("RGBA", (200, 100), (255, 0, 0, 0))
    drawing.paste((0, 0, 255, 255), (100, 0, 200, 100))
    library.add("shapes/square", "Square", image=drawing)
    library.run(size=50)
    with Image.open(library.out / "images/shapes/square.png") as image:
        assert (image.mode, image.size) == ("RGB", (50, 25))
        assert image.getpixel((5, 12)) == (255, 255, 255)  # not the red that hides under full transparency
        assert image.getpixel((45, 12)) == (0, 0, 255)


# Groups and split.


def fill(library, count=60):
    """Triples of near duplicates: a drawing, another of the same name, a recoloured copy of another name."""
    letters = [f"{first}{second}" for first in "bcdfghjk" for second in "aeiouy"]
    for number, letter in enumerate(letters[: count // 3]):
        library.add(f"food/{letter}fruit_01", f"{letter}fruit", image=blocks(3 * number))
        library.add(f"food/{letter}fruit_02", f"Red {letter}fruits 2", image=blocks(3 * number + 1))
        library.add(f"tools/{letter}nail", f"{letter}nail", image=recoloured(blocks(3 * number)))


def test_recoloured_resized_and_padded_copies_count_as_near_duplicates():
    image = blocks(7)
    padded = Image.new("RGB", (90, 80), "white")
    padded.paste(image, (30, 12))
    bright = image.point(lambda value: value // 2 + 100)
    for copy in (image.resize((131, 131)), padded, bright):
        colour = float(prepare.colours(image) @ prepare.colours(copy))
        edge = float(prepare.edges(image) @ prepare.edges(copy))
        assert colour >= prepare.SAME_COLOURS or edge >= prepare.SAME_EDGES
    assert float(prepare.colours(image) @ prepare.colours(blocks(8))) < prepare.SAME_COLOURS
    assert float(prepare.edges(image) @ prepare.edges(blocks(8))) < prepare.SAME_EDGES


def test_groups_match_a_slow_search():
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = {(i, j) for i in range(40) for j in range(i + 1, 40) if vectors[i] @ vectors[j] >= 0.97}
    assert set(prepare.similar_pairs(vectors, 0.97, chunk=7)) == pairs
    label = list(range(40))
    for _ in range(40):
        for i, j in pairs:
            label[i] = label[j] = min(label[i], label[j])
    expected = {tuple(i for i in range(40) if label[i] == name) for name in set(label)}
    assert {tuple(group) for group in prepare.connect(40, pairs)} == expected


def test_near_duplicates_never_straddle_the_split(library):
    fill(library)
    for seed in range(5):
        train, heldout, _ = library.run(held_out=0.3, seed=seed)
        assert len(train) + len(heldout) == 60
        assert 12 <= len(heldout) <= 18
        letters = [{path.split("/")[1][:2] for path in split} for split in (train, heldout)]
        assert not letters[0] & letters[1]


def test_the_same_seed_gives_the_same_files_and_another_seed_a_new_split(library):
    fill(library)
    first = library.run(held_out=0.3, seed=1)
    lines = (library.out / "train.jsonl").read_bytes()
    again = library.run(held_out=0.3, seed=1)
    assert again == first
    assert (library.out / "train.jsonl").read_bytes() == lines
    assert library.run(held_out=0.3, seed=2)[1] != first[1]


def test_large_groups_always_train():
    large = [f"large {number}" for number in range(prepare.MAX_HELD_OUT_GROUP + 1)]
    groups = [large, *([f"single {number}"] for number in range(20))]
    for seed in range(20):
        held = prepare.hold_out(groups, 0.25, seed)
        assert len(held) == 10  # a quarter of 41, rounded down
        assert not held & set(large)


# Command line.


@pytest.mark.parametrize("missing", ["png", "svg"])
def test_missing_packages_end_in_one_line_that_names_them(library, missing):
    library.add("food/apple", "Apple")
    arguments = {"png": str(library.png), "svg": str(library.svg)} | {missing: "/nowhere"}
    with pytest.raises(SystemExit) as ended:
        prepare.main([str(library.out), "--png", arguments["png"], "--svg", arguments["svg"]])
    message = str(ended.value)
    assert f"apt install openclipart-{missing}" in message
    assert "\n" not in message


def test_a_library_without_one_usable_drawing_is_an_error(library):
    library.add("food/bare", "", svg="<svg/>")
    with pytest.raises(ValueError, match=r"none of 1 drawings can be used.*no metadata"):
        library.run()


@pytest.mark.parametrize("option", [("--size", "2"), ("--held-out", "6"), ("--held-out", "nan")])
def test_impossible_options_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        prepare.parse_arguments(["out", *option])
    assert option[0] in capsys.readouterr().err


def test_the_command_prints_the_summary(library, capsys):
    fill(library, 30)
    prepare.main([str(library.out), "--png", str(library.png), "--svg", str(library.svg), "--held-out", "0.3"])
    printed = capsys.readouterr().out
    assert "kept      30" in printed
    assert "held out" in printed
