"""The data example: lines of a drawn PDF, the sides of the split, names of drawings, and shards that are whole or absent."""

import ctypes
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pypdfium2 = pytest.importorskip("pypdfium2")
pytest.importorskip("resvg_py")

FOLDER = Path(__file__).parents[2] / "examples/print_and_pictures"
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(autouse=True)
def example(monkeypatch):
    """The scripts of the folder import each other by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def write_pdf(path, rows):
    """A PDF of one page, 400 x 300 points, with (text, x, y from the bottom, size, font) rows."""
    raw = pypdfium2.raw
    document = pypdfium2.PdfDocument.new()
    page = document.new_page(400, 300)
    for text, x, y, size, font in rows:
        item = raw.FPDFPageObj_NewTextObj(document, font.encode(), size)
        utf16 = (text + "\0").encode("utf-16-le")
        raw.FPDFText_SetText(item, ctypes.cast(utf16, ctypes.POINTER(ctypes.c_ushort)))
        raw.FPDFPageObj_Transform(item, 1, 0, 0, 1, x, y)
        raw.FPDFPage_InsertObject(page, item)
    page.gen_content()
    path.parent.mkdir(parents=True, exist_ok=True)
    document.save(path)


ROWS = [
    ("The first line of text", 30, 260, 12, "Helvetica"),
    ("A second line, in Times", 30, 240, 10, "Times-Roman"),
    ("Contents . . . . . . . . 7", 30, 220, 10, "Helvetica"),  # a leader
]


def members(shard):
    with tarfile.open(shard) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_lines_have_the_text_and_place_of_the_layer(tmp_path):
    from pages import pages_of

    write_pdf(tmp_path / "a.pdf", ROWS)
    ((picture, lines),) = pages_of(tmp_path / "a.pdf", 144)
    assert picture.shape == (600, 800)
    assert [line.text for line in lines] == [ROWS[0][0], ROWS[1][0]]
    for line, (_, x, y, size, font) in zip(lines, ROWS, strict=False):
        left, top, right, bottom = line.box
        assert line.font == font
        assert line.size == pytest.approx(size, rel=1e-3)
        assert 0.4 * size < line.x_height < 0.6 * size
        assert left == pytest.approx(x, abs=1)
        assert top < 300 - y < bottom
        ink = picture[round(2 * top) : round(2 * bottom), round(2 * left) : round(2 * right)] < 128
        assert ink.any(0)[:3].any()
        assert ink.any(0)[-3:].any()
        assert [word for word, _, _ in line.words] == line.text.split()
        edges = [edge for _, *sides in line.words for edge in sides]
        assert edges == sorted(edges)


def test_pages_that_inherit_their_size_are_drawn_where_their_layer_says(tmp_path):
    """pdfium then gives Letter as the crop box, and draws the page at its own size."""
    from pages import pages_of

    write_pdf(tmp_path / "a.pdf", ROWS)
    own = (tmp_path / "a.pdf").read_bytes().replace(b"/MediaBox", b"/NoSuchBx")
    inherited = re.sub(rb"/Type ?/Pages\b", b"/Type/Pages/MediaBox[0 0 500 600]", own)
    assert inherited != own
    (tmp_path / "b.pdf").write_bytes(inherited)
    ((picture, lines),) = pages_of(tmp_path / "b.pdf", 144)
    assert picture.shape == (1200, 1000)
    assert [line.text for line in lines] == [ROWS[0][0], ROWS[1][0]]
    for line in lines:
        left, top, right, bottom = (round(2 * side) for side in line.box)
        ink = picture < 128
        assert ink[top:bottom, left:right].sum() > 100
        assert not ink[top - 6 : top - 1, left:right].any()
        assert not ink[bottom + 4 : bottom + 8, left:right].any()


def test_lines_of_training_are_left_out_of_the_others(tmp_path, monkeypatch):
    import lines

    monkeypatch.setattr(lines, "part_of", {"one": "train", "two": "valid", "three": "test"}.__getitem__)
    write_pdf(tmp_path / "in/one/one.pdf", ROWS)
    for name in ("two", "three"):
        write_pdf(tmp_path / f"in/{name}/{name}.pdf", [*ROWS[:1], (f"Only {name} says this here", 30, 200, 12, "Helvetica")])
    out = tmp_path / "lines"
    counts = lines.write_lines([tmp_path / "in"], out)
    assert counts == {"train": 2, "valid": 1, "test": 1}
    said = {
        part: sorted(t.decode() for n, t in members(next((out / part).glob("*.tar"))).items() if n.endswith("txt"))
        for part in counts
    }
    assert said == {
        "train": [ROWS[1][0], ROWS[0][0]],
        "valid": ["Only two says this here"],
        "test": ["Only three says this here"],
    }
    words = members(out / "words/one.tar")
    for name, text in words.items():
        if name.endswith(".txt"):
            assert any(text.decode() in row[0] and text.decode() != row[0] for row in ROWS)
            image = Image.open(io.BytesIO(words[name.replace(".txt", ".png")]))
            assert image.width < 300
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    assert lines.write_lines([tmp_path / "in"], out) == counts
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == before


def test_shuffled_lines_are_words_of_one_font_side_by_side(tmp_path, monkeypatch):
    import lines
    import shuffled

    monkeypatch.setattr(lines, "part_of", {"one": "train"}.__getitem__)
    write_pdf(
        tmp_path / "in/one/one.pdf",
        [("red green blue", 30, 200, 12, "Helvetica"), ("black white grey", 30, 100, 12, "Helvetica")],
    )
    lines.write_lines([tmp_path / "in"], tmp_path / "lines")
    assert shuffled.write_shuffled(tmp_path)["shuffled"] >= 1
    files = members(tmp_path / "lines/shuffled/one.tar")
    lines_of = members(tmp_path / "lines/train/one.tar")
    sizes = {Image.open(io.BytesIO(data)).height for name, data in lines_of.items() if name.endswith(".png")}
    for name in (name for name in files if name.endswith(".txt")):
        words = files[name].decode().split(" ")
        assert {*words} <= {"red", "green", "blue", "black", "white", "grey"}
        image = np.asarray(Image.open(io.BytesIO(files[name.replace(".txt", ".png")])))
        assert image.shape[0] in sizes
        ink = (image < 128).any(0)
        gaps = np.diff(np.flatnonzero(ink))
        assert (gaps > 5).sum() == len(words) - 1  # 12 points at 150 dots per inch: a space is 8 pixels, between letters 4


def test_tests_show_each_line_at_four_heights_clean_and_damaged(tmp_path, monkeypatch):
    import lines
    import print_tests

    monkeypatch.setattr(lines, "part_of", {"one": "train", "two": "test"}.__getitem__)
    write_pdf(tmp_path / "in/one/one.pdf", ROWS[:1])
    write_pdf(
        tmp_path / "in/two/two.pdf",
        [("never seen here", 30, 200, 12, "Helvetica"), ("nor is this one", 30, 100, 9, "Courier")],
    )
    lines.write_lines([tmp_path / "in"], tmp_path / "lines")
    assert print_tests.write_tests([tmp_path / "in"], tmp_path) == 2
    shards = sorted((tmp_path / "measured").glob("*.tar"))
    assert [shard.stem for shard in shards] == [f"x{x:02}-{kind}" for x in (5, 8, 12, 20) for kind in ("clean", "damaged")]
    heights = {}
    for shard in shards:
        files = members(shard)
        facts = {n.removesuffix(".json"): json.loads(d) for n, d in files.items() if n.endswith(".json")}
        assert sorted(fact["known_font"] for fact in facts.values()) == [False, True]
        for key, fact in facts.items():
            image = np.asarray(Image.open(io.BytesIO(files[f"{key}.png"])).convert("L"), float)
            heights[shard.stem, fact["font"]] = image.shape[0]
    for font in ("Helvetica", "Courier"):
        sizes = [heights[f"x{x:02}-clean", font] / x for x in (5, 8, 12, 20)]
        assert max(sizes) < 1.15 * min(sizes)
        assert heights["x20-damaged", font] == pytest.approx(heights["x20-clean", font], rel=0.25)


def test_names_of_drawings_lose_style_skin_and_numbers():
    from pictures import caption_of, concept_of

    assert caption_of("woman-fairy-medium-dark-skin-tone") == "woman fairy"
    assert caption_of("arrow-left-outline-24") == "arrow left"
    assert caption_of("f123") == ""
    assert caption_of("a-very-long-name-of-six-words-more") == ""
    assert concept_of("left arrows") == concept_of("arrow left")


def test_a_drawing_is_drawn_in_colours_of_its_name():
    from pictures import Drawing, drawn

    square = "<rect x='2' y='2' width='4' height='4' fill='COLOUR'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'>{square}</svg>"
    first, again = (np.asarray(drawn(Drawing("set", "square", svg, plain=True))) for _ in range(2))
    assert first.shape == (128, 128, 3)
    assert (first == again).all()
    assert (first[64, 64] != first[4, 4]).any()
    assert (first[40:90, 40:90] == first[64, 64]).all()


def test_drawings_of_common_names_are_trained_or_kept_aside(tmp_path, monkeypatch):
    pytest.importorskip("imagehash")
    import common
    from pictures import Drawing

    rng = np.random.default_rng(0)

    def blocks():
        places = rng.integers(0, 7, (14, 2))
        return "".join(f"<rect x='{x}' y='{y}' width='1' height='1' fill='COLOUR'/>" for x, y in places)

    bodies = [blocks() for _ in range(90)]
    bodies[20] = bodies[0]  # a copy of a drawing for training, kept aside
    svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'>{}</svg>"
    some = [Drawing("set", f"box-{n}", svg.format(body), plain=True) for n, body in enumerate(bodies)]
    rare = some[: common.LEAST - 1]
    monkeypatch.setattr(common, "by_concept", lambda icons: {"box": some, "rare": rare})
    monkeypatch.setattr(common, "part_of", lambda concept: "train")
    assert [*common.common_names(tmp_path)] == ["box"]
    trained, aside = common.for_training(some), common.kept_aside(some)
    assert len(trained) == common.MOST
    assert not {one.name for one in trained} & {f"box-{n}" for n in range(12, 90, 8)}
    assert 5 <= len(aside) < 10  # ten places, one of them a copy, and some may look alike by chance
    counts = common.write_common(tmp_path, tmp_path)
    assert counts == {"train": common.MOST, "valid": -(-len(aside) // 2)}
    assert members(tmp_path / "common/valid.tar")["box-000.txt"] == b"box"


def test_a_shard_is_whole_or_absent(tmp_path):
    from shards import Captioned, write_shard

    def samples():
        yield Captioned("a", Image.new("L", (4, 4)), "one", {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "x.tar", samples())
    assert not (tmp_path / "x.tar").exists()
    assert write_shard(tmp_path / "x.tar", [Captioned("a", Image.new("L", (4, 4)), "é", {"k": 1})]) == 1
    assert sorted(members(tmp_path / "x.tar")) == ["a.json", "a.png", "a.txt"]


def test_a_package_that_cannot_be_had_is_named(tmp_path, monkeypatch):
    from packages import Missing, package_files

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="fancy-doc is a package of debian, and this machine has no apt-get"):
        package_files(tmp_path, "fancy-doc", "debian")


def test_figures_have_the_caption_of_their_title_or_plot(tmp_path):
    from figures import write_figures
    from shards import part_of

    manual = tmp_path / "usr/share/gimp/2.0/help/en"
    plots = tmp_path / "usr/share/doc/python-sklearn-doc/html/auto_examples/svm"
    for folder in (manual, plots):
        folder.mkdir(parents=True)
        Image.new("RGBA", (600, 60), (255, 0, 0, 128)).save(folder / "a.png")
        Image.new("L", (20, 20)).save(folder / "small.png")
    (manual / "tools.html").write_text(
        """<p class="title">Not this</p><img src="a.png"><div class="figure"><p class="title"><b>Figure 3.12. The “Move”
        tool</b></p><div><div><img src="small.png"><img src="a.png"></div></div></div><img src="a.png" alt="nor this">"""
    )
    (plots / "plot.html").write_text('<img src="a.png" alt="Support vectors" class="sphx-glr-single-img">')
    assert sum(write_figures([tmp_path], tmp_path / "out").values()) == 2
    found = {}
    for part in ("train", "valid", "test"):
        for name, data in members(tmp_path / f"out/figures/{part}.tar").items():
            if name.endswith(".txt"):
                found[data.decode()] = part
            if name.endswith(".png"):
                image = Image.open(io.BytesIO(data))
                assert image.size == (512, 51)
                assert image.getpixel((5, 5)) == pytest.approx((255, 127, 127), abs=1)
    assert found == {'The "Move" tool': part_of("en 3"), "Support vectors": part_of("svm")}


def write_svg(path, title, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""<svg xmlns='http://www.w3.org/2000/svg' xmlns:dc='http://purl.org/dc/elements/1.1/' viewBox='0 0 8 8' width='8'
        height='8'><metadata><dc:title>{title}</dc:title></metadata>{shape}</svg>"""
    )


def test_clip_art_that_looks_alike_is_on_one_side(tmp_path, monkeypatch):
    pytest.importorskip("imagehash")
    import clipart
    import shards

    root = tmp_path / "usr/share/openclipart/svg/things"
    box, ball = "<rect x='1' y='2' width='4' height='5'/>", "<circle cx='5' cy='3' r='2'/>"
    for name, title, shape in (
        ("box_01", "Clipart by A - red_box", box),
        ("box_02", "", box),
        ("ball", "A big ball", ball),
        ("star_1", "x", box),
        ("empty", "nothing", ""),
    ):
        write_svg(root / f"{name}.svg", title, shape)
    asked = []
    monkeypatch.setattr(shards, "part_of", lambda name: asked.append(name) or ("test" if "box" in name else "train"))
    assert clipart.write_clipart(tmp_path, tmp_path / "out") == {"train": 1, "valid": 0, "test": 2}
    assert {*asked} == {"things-ball", "things-box_01"}
    texts = [d.decode() for n, d in members(tmp_path / "out/clipart/test.tar").items() if n.endswith(".txt")]
    assert texts == ["red box", "box"]


def test_electronic_parts_are_split_by_family(tmp_path):
    import clipart

    root = tmp_path / "usr/share/fritzing/parts"
    write_svg(root / "svg/core/breadboard/led.svg", "", "<circle cx='4' cy='4' r='2'/>")
    (root / "core").mkdir()
    (root / "core/led.fzp").write_text(
        """<module><title>LED</title><description>a red light</description><properties><property name="family">Lamp
        </property></properties><views><breadboardView><layers image="breadboard/led.svg"/></breadboardView>
        <schematicView><layers image="schematic/gone.svg"/></schematicView></views></module>"""
    )
    (root / "core/broken.fzp").write_text("<module>")
    assert sum(clipart.write_circuit_parts(tmp_path, tmp_path / "out").values()) == 1


def test_pixels_of_a_map_have_the_class_of_their_division(tmp_path):
    from maps import CLASSES, COPIES, write_maps

    root = tmp_path / "usr/share/kgeography"
    root.mkdir(parents=True)
    colours = {"North": (200, 0, 0), "South": (0, 200, 0), "Sea": (0, 0, 200), "Frontier": (0, 0, 0), "Abroad": (9, 9, 9)}
    rows = [name for name in colours for _ in range(4)]
    pixels = np.array([[colours[name]] * 30 for name in rows], np.uint8)
    pixels[0, 0] = 77  # no division
    Image.fromarray(pixels).save(root / "land.png")
    divisions = "".join(
        f"<division><name>{name}</name><ignore>{'no' if name in ('North', 'South') else 'yes'}</ignore><color><red>{red}"
        f"</red><green>{green}</green><blue>{blue}</blue></color></division>"
        for name, (red, green, blue) in colours.items()
    )
    (root / "land_regions.kgm").write_text(f"<map><mapFile>land.png</mapFile>{divisions}</map>")
    assert sum(write_maps(tmp_path, tmp_path).values()) == COPIES
    assert (tmp_path / "maps/classes.txt").read_text().split() == [*CLASSES]
    labels = [np.asarray(Image.open(path)) for path in (tmp_path / "maps/annotations").rglob("*.png")]
    images = [np.asarray(Image.open(path)) for path in (tmp_path / "maps/images").rglob("*.png")]
    kinds = {"North": 1, "South": 1, "Sea": 2, "Frontier": 4, "Abroad": 3}
    for one in labels:
        assert one[0, 0] == 0
        assert one[:, 1:].tolist() == [[kinds[name]] * 29 for name in rows]
    assert len({image[18].tobytes() for image in images}) == COPIES


def test_mixtures_name_what_is_there(tmp_path):
    import yaml
    from make import MIXTURES, write_mixtures

    (tmp_path / "lines/train").mkdir(parents=True)
    (tmp_path / "lines/train/a.tar").touch()
    write_mixtures(tmp_path)
    assert yaml.safe_load((tmp_path / "train.yaml").read_text())["sources"] == MIXTURES["train"][:1]
    assert yaml.safe_load((tmp_path / "valid.yaml").read_text())["sources"] == []


def test_error_rates_are_those_of_a_slow_count():
    pytest.importorskip("rapidfuzz")
    from reader_errors import edits, rate

    counts = edits(["abc def", "“x”"], ["abd def", '"x" y'])
    assert counts.tolist() == [[1, 7, 1, 2], [2, 3, 1, 1]]
    whole, low, high = rate(counts, 0)
    assert whole == pytest.approx(100 * 3 / 10)
    assert low <= whole <= high


def test_readings_are_stored_and_shown(tmp_path):
    pytest.importorskip("rapidfuzz")
    from compare_readers import measured
    from reader_errors import Sample
    from readers import Reader
    from readers_page import readers_page

    some = [Sample(Image.new("RGB", (40, 10)), text, {"known_font": text == "ab"}) for text in ("ab", "cd<b>")]
    called = []
    reader = Reader("genlip", "1", lambda images: called.append(1) or ["ab", "cx<b>"])
    one, again = (measured("x05-clean", some, reader, tmp_path) for _ in range(2))
    assert len(called) == 1
    assert one.edits.tolist() == again.edits.tolist() == [[0, 2, 0, 1], [1, 5, 1, 1]]
    assert (one.characters.value, one.new_fonts.value) == pytest.approx((100 / 7, 100 / 5))
    measured("x05-clean", some, reader._replace(version="2"), tmp_path)
    assert len(called) == 2
    page = readers_page({"x05-clean": some}, [one])
    assert "cx&lt;b&gt;" in page
    assert "14.29" in page


def test_near_twins_are_found_by_hash_or_by_that_of_the_negative(tmp_path):
    pytest.importorskip("imagehash")
    from near_twins import hashes, nearest
    from shards import Captioned, write_shard

    rng = np.random.default_rng(0)
    drawing = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((64, 64))
    negative = Image.fromarray(255 - np.asarray(drawing))
    other = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((64, 64))
    for part, some in (("train", {"a": drawing}), ("test", {"b": negative, "c": other})):
        write_shard(tmp_path / part / "x.tar", [Captioned(key, image, key, {}) for key, image in some.items()])
    names, found = hashes(tmp_path / "test")
    assert names == ["b: b", "c: c"]
    apart, _ = nearest(found, hashes(tmp_path / "train")[1])
    assert apart[0] <= 4 < apart[1]
    train = np.array([[0b1111, 0b0000], [1 << 63, 7]], np.uint64)
    bits, which = nearest(np.array([[0b0111, 0], [5, (1 << 63) | 1]], np.uint64), train)
    assert bits.tolist() == [1, 1]
    assert which.tolist() == [0, 1]
