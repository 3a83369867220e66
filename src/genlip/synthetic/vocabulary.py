"""Vocabulary: names, places, products, dates, amounts and sentences for pages to show.

In: the random choices of a page. Out: grammatical English text, of letters, digits and signs that every font
draws alike (the dollar sign only if upright). Sentences are templates whose gaps are filled from the lists below, which
hold about 700 words.
"""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter
from typing import NamedTuple

from genlip.synthetic.random_choices import RandomChoices

__all__ = [
    "CURRENCIES",
    "GIVEN",
    "TOWNS",
    "WEEKDAYS",
    "Person",
    "bullet",
    "business",
    "date",
    "grocery",
    "heading",
    "letter_sentence",
    "money",
    "notice",
    "person",
    "product",
    "sentence",
    "street",
    "subject",
    "time",
    "title",
    "town",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


GIVEN = _words(
    "Ada Alma Amir Anna Arlo Asha Bea Ben Bruno Carla Cleo Dara David Diego Edith Elena Elias Emma Farid Felix Fiona "
    "Grace Hana Hugo Ida Ines Ivan Jack Jana Jonas Kai Karin Lara Leo Lina Lucas Maja Malik Maria Mona Nadia Nils Nora "
    "Olga Omar Oscar Paula Pedro Petra Priya Rosa Ruth Sam Sara Selma Tara Theo Tom Vera Victor Wanda Yara Yusuf Zoe"
)
FAMILY = _words(
    "Abel Adler Baker Banks Barros Becker Bell Berg Blake Bloom Brandt Carter Castle Chen Cole Costa Cross Dale Diaz "
    "Doyle Drake Ellis Evans Farrow Fields Fischer Flores Ford Fox Garcia Gray Hale Hansen Harper Hart Holm Hunt Ito "
    "Jensen Keller Khan King Klein Lake Lane Larsen Lopez Marsh Mason Mendez Mills Moreau Novak Okafor Olsen Park Patel "
    "Porter Quinn Reed Rossi Santos Shaw Silva Singh Stone Tanaka Vogel Wagner Ward Weber West Wood Young Zeller"
)
TOWNS = _words(
    "Alderbrook Ashford Aston Barrowdale Beckton Birchwood Bramley Bridgewater Caldwell Canterfield Cedarville Clayton "
    "Coldstream Danby Eastbourne Edgeworth Elmhurst Fairview Fernhill Foxton Glenmore Greendale Halston Harwick Hazelton "
    "Highfield Ivybridge Kelby Kingsport Lakeside Langdon Linwood Maplewood Marlow Millbrook Newhaven Northgate Oakridge "
    "Overton Penford Pinehurst Portman Quarrydale Ravenfield Redcliff Riverton Rosedale Saltmere Seaford Stonebridge "
    "Sutton Thornby Upwell Walden Westbrook Whitby Windmere Woodstock Yarrow"
)
TREES = _words(
    "Acorn Bay Birch Bridge Canal Castle Cherry Church Elm Forest Garden Harbour Hill King Lake Lime Maple Market Mill "
    "Oak Orchard Park Pine Queen River School Spring Station Sunset Valley Walnut Willow"
)
ROADS = ("Street", "Road", "Lane", "Avenue", "Way", "Square")
TRADES = _phrases(
    "Bakery, Books, Cafe, Cycles, Design, Electric, Flowers, Foods, Furniture, Garage, Garden Centre, Grocery, Hardware, "
    "Kitchens, Market, Music, Paints, Paper, Pharmacy, Printing, Sports, Supplies, Tools, Toys, Travel"
)
MAKES = _words(
    "small large blue red green white black grey light heavy round square folding wooden steel cotton glass paper plastic "
    "leather ceramic classic digital electric garden kitchen office travel winter summer double spare"
)
THINGS = _words(
    "apron bag ball basket battery bell bench blanket bottle bowl box brush bucket cable candle chair clock coat cup "
    "curtain cushion desk drill fan file flask fork frame glove hammer hat hook hose jacket jar kettle key knife ladder "
    "lamp lock map mat mirror mug napkin notebook oven pan pen pencil pillow plate poster pot pump radio rope rug saw "
    "scarf shelf shovel soap sofa spoon stamp stool table tape teapot tent toaster torch towel tray umbrella vase wallet "
    "whistle"
)
GROCERIES = _words(
    "apples bananas beans bread butter cake carrots cheese cherries coffee corn eggs fish flour garlic grapes honey jam "
    "juice lemons lettuce milk mushrooms nuts oats oil olives onions pasta pears peas pepper plums potatoes rice salt "
    "soup spinach sugar tea tomatoes yogurt"
)
# The words of sentences: things with their plurals, what they are like, and what is done to them.
NOUNS = _words(
    "archive/archives bakery/bakeries bank/banks barn/barns bell/bells bicycle/bicycles boat/boats book/books "
    "bridge/bridges bus/buses camera/cameras canal/canals castle/castles chapel/chapels clock/clocks club/clubs "
    "coin/coins college/colleges cottage/cottages engine/engines factory/factories farm/farms ferry/ferries "
    "festival/festivals field/fields film/films forest/forests fountain/fountains garden/gardens gate/gates "
    "greenhouse/greenhouses harbour/harbours hedge/hedges hotel/hotels house/houses island/islands kitchen/kitchens "
    "lake/lakes lantern/lanterns letter/letters library/libraries lighthouse/lighthouses machine/machines map/maps "
    "market/markets meadow/meadows mill/mills mirror/mirrors museum/museums newspaper/newspapers office/offices "
    "orchard/orchards oven/ovens painting/paintings path/paths photograph/photographs piano/pianos pond/ponds "
    "postcard/postcards railway/railways recipe/recipes river/rivers road/roads roof/roofs sail/sails school/schools "
    "shop/shops song/songs station/stations statue/statues street/streets studio/studios telescope/telescopes "
    "theatre/theatres tower/towers train/trains tram/trams tree/trees tunnel/tunnels village/villages violin/violins "
    "wall/walls wheel/wheels window/windows workshop/workshops"
)
LIKE = _words(
    "ancient beautiful bright broad broken busy calm careful cheap clean cold common curious dark deep dusty early empty "
    "expensive famous fine forgotten fragile gentle golden grand heavy hidden historic huge humble important large little "
    "local lonely long modern modest narrow new noisy odd old ordinary painted pale patient plain pleasant popular "
    "precious private proud quiet rare remarkable rough rusty sturdy silent simple slow small solid steep strange strong "
    "sunny tall tiny tired useful usual warm wide wild wonderful wooden"
)
DONE = _words(
    "admire/admired borrow/borrowed build/built buy/bought check/checked clean/cleaned close/closed collect/collected "
    "copy/copied count/counted cover/covered describe/described design/designed discover/discovered draw/drew "
    "examine/examined explore/explored find/found finish/finished follow/followed guard/guarded improve/improved "
    "inspect/inspected keep/kept leave/left lend/lent lose/lost measure/measured mend/mended move/moved notice/noticed "
    "open/opened order/ordered paint/painted photograph/photographed plan/planned prepare/prepared protect/protected "
    "reach/reached remember/remembered repair/repaired replace/replaced restore/restored save/saved sell/sold "
    "share/shared show/showed sketch/sketched study/studied test/tested visit/visited watch/watched"
)
HOW = _phrases(
    "again, at last, by hand, carefully, every day, every spring, gladly, in secret, in silence, now and then, often, "
    "once a year, patiently, quickly, quietly, slowly, together, twice a week, with care, with great patience, without "
    "delay"
)
WHERE = _phrases(
    "above the valley, across the river, along the canal, at the market, behind the church, beside the old mill, by the "
    "lake, in the village, near the harbour, near the station, next to the school, on the hill, on the island, outside "
    "the town, under the bridge"
)
WHO = _words(
    "architects artists bakers builders carpenters children clerks cooks doctors drivers engineers families farmers "
    "fishermen gardeners guests historians librarians merchants musicians neighbours nurses pupils readers sailors "
    "scientists students tailors teachers travellers visitors volunteers writers"
)
WHEN = _phrases(
    "After the storm, At noon, Before the war, Before sunrise, During the summer, In the evening, In the morning, Last "
    "autumn, Many years ago, On most days, On Sundays, One winter, Soon afterwards, These days, This year, Today, Until "
    "recently"
)
MATTERS = _words(
    "budget delivery exhibition heating insurance lease membership order painting parking party payment plan project "
    "report repair subscription ticket tour training visit workshop"
)
MONTHS = _words("January February March April May June July August September October November December")
WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
CURRENCIES = ("$", "EUR ", "GBP ", "CHF ")

SENTENCES = (
    "{when}, {who} {done} the {like} {noun} {where}.",
    "{when}, {given} {family} {done} {a_noun} {where}.",
    "The {noun} {where} is {like} and {like}.",
    "Most {nouns} are {like}, but those of {town} are {like}.",
    "It took {few} weeks to {do} the {noun}.",
    "{given} {family} says that the {nouns} were {like} in {year}.",
    "Since {year}, {many} {nouns} have stood {where}.",
    "There were {many} {nouns} {where}, and {few} of them were {like}.",
    "No one knows why {who} {done} the {like} {noun}.",
    "{many} {who} {done} the {nouns} {how}.",
    "The {who} of {town} {do} their {nouns} {how}.",
    "Every {weekday}, {who} {do} {a_like} {noun} {where}.",
    "{a_like_up} {noun} needs {a_like} {noun}.",
    "In {month} {year}, the {noun} was {like} again.",
    "Some say the {noun} is {like}; others find it {like}.",
    "{given} {done} {few} {like} {nouns} and {done} the rest.",
    "What the {who} {done} in {year} is still {like}.",
    "A visitor can {do} the {noun} {how}.",
    "The {like} {nouns} {where} belong to the {who}.",
    "Without the {noun}, {town} would be {like}.",
    "About {many} people come to {do} the {noun} each {weekday}.",
    "From {month} on, the {noun} will be closed.",
    "The first {noun} in {town} was {like} and rather {like}.",
    "{who_up} seldom {do} {nouns} {how}.",
    "One {noun} of {year} cost {many} pounds.",
    "Few {who} had seen so {like} {a_noun} before.",
)
LETTER_SENTENCES = (
    "Thank you for your letter about the {matter}.",
    "We are glad to tell you that the {matter} is ready.",
    "I am writing to ask about the {matter} in {month}.",
    "The {matter} will begin on {weekday} at {time}.",
    "Please send your answer before the end of {month}.",
    "You will find {few} {nouns} in the parcel.",
    "Our office in {town} is open until {time}.",
    "If {weekday} does not suit you, please call us.",
    "The price of the {matter} has not changed.",
    "{given} {family} will meet you at the station.",
    "Could you also {do} the {noun} {where}?",
    "We had to {do} the {noun} in {month}.",
    "I hope to visit {town} again this year.",
    "The {who} here {done} the {like} {noun} {how}.",
    "Your {matter} number is {number}.",
    "Please bring {few} copies of the {matter}.",
    "It would be good to see you in {town}.",
    "As agreed, we will {do} the {nouns} by {month}.",
)
TITLES = (
    "A short history of {nouns}",
    "How to {do} {a_noun}",
    "The {like} {noun} of {town}",
    "{nouns_up} and their {who}",
    "Who {done} the {noun}?",
    "Life {where}",
    "{few_up} {like} {nouns}",
    "News from {town}",
    "{town} in {year}",
    "Why {who} {do} {nouns}",
    "Notes on the {noun} {where}",
    "A guide to {like} {nouns}",
    "Annual report {year}",
)
HEADINGS = (
    "Early years",
    "The {noun}",
    "{nouns_up}",
    "Work in {month}",
    "One {weekday} in {town}",
    "What {who} say",
    "{like_up} {nouns}",
    "The road to {town}",
    "After {year}",
    "Costs",
    "The {who}",
    "Next steps",
    "In short",
)
BULLETS = (
    "{do_up} the {noun}",
    "{do_up} {few} {nouns}",
    "{like_up} {nouns} {where}",
    "{many} {nouns} in {town}",
    "Ask {given} about the {matter}",
    "Meet the {who} on {weekday}",
    "New {matter} from {month}",
    "{who_up} {do} {nouns}",
    "{matter_up} ready by {weekday}",
    "More {nouns} than in {year}",
    "Call {given} {family} at {time}",
    "Less {like}, more {like}",
)
NOTICES = (
    "Closed on {weekday}",
    "{matter_up} this way",
    "Open from {time}",
    "No {nouns} beyond this point",
    "{nouns_up} for sale",
    "Please do not {do} the {nouns}",
    "Welcome to {town}",
    "{town} {many} miles",
    "Next {matter}: {weekday}",
    "Mind the {like} {noun}",
    "Back at {time}",
    "Room {number}",
    "{who_up} only",
)


class Person(NamedTuple):
    """A person named on a page."""

    given: str
    family: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.given} {self.family}"


def person(rng: RandomChoices) -> Person:
    """E.g. Nora Keller."""
    return Person(rng.one(GIVEN), rng.one(FAMILY))


def town(rng: RandomChoices) -> str:
    """E.g. Millbrook."""
    return rng.one(TOWNS)


def street(rng: RandomChoices) -> str:
    """E.g. 27 Orchard Lane."""
    return f"{rng.whole(1, 199)} {rng.one(TREES)} {rng.one(ROADS)}"


def business(rng: RandomChoices) -> str:
    """E.g. Novak Books."""
    return f"{rng.one(FAMILY if rng.chance(0.6) else TOWNS)} {rng.one(TRADES)}"


def product(rng: RandomChoices) -> str:
    """E.g. Folding chair, or Green teapot."""
    return f"{rng.one(MAKES)} {rng.one(THINGS)}".capitalize()


def grocery(rng: RandomChoices) -> str:
    """E.g. Tomatoes."""
    return rng.one(GROCERIES).capitalize()


def date(rng: RandomChoices) -> str:
    """In one of four formats, e.g. 7 March 2019."""
    day, month, year = rng.whole(1, 28), rng.whole(1, 12), rng.whole(1985, 2029)
    name = MONTHS[month - 1]
    manners = (f"{day} {name} {year}", f"{name} {day}, {year}", f"{day:02}.{month:02}.{year}", f"{year}-{month:02}-{day:02}")
    return rng.one(manners)


def time(rng: RandomChoices) -> str:
    """E.g. 9:45."""
    return f"{rng.whole(6, 22)}:{5 * rng.whole(0, 11):02}"


def money(cents: int, currency: str = "") -> str:
    """E.g. $1,204.50 of 120450 cents."""
    return f"{currency}{cents // 100:,}.{cents % 100:02}"


def sentence(rng: RandomChoices) -> str:
    """One sentence of an article."""
    return _filled(rng, SENTENCES)


def letter_sentence(rng: RandomChoices) -> str:
    """One sentence of a letter."""
    return _filled(rng, LETTER_SENTENCES)


def title(rng: RandomChoices) -> str:
    """A title, e.g. A short history of lighthouses."""
    return _filled(rng, TITLES)


def heading(rng: RandomChoices) -> str:
    """The heading of a section."""
    return _filled(rng, HEADINGS)


def bullet(rng: RandomChoices) -> str:
    """An item of a list, no full stop."""
    return _filled(rng, BULLETS)


def notice(rng: RandomChoices) -> str:
    """What a sign says."""
    return _filled(rng, NOTICES)


def subject(rng: RandomChoices) -> str:
    """What a letter, a form or a meeting is about, e.g. Membership."""
    return rng.one(MATTERS).capitalize()


def _singular(rng: RandomChoices) -> str:
    return rng.one(NOUNS).partition("/")[0]


def _plural(rng: RandomChoices) -> str:
    return rng.one(NOUNS).partition("/")[2]


def _present(rng: RandomChoices) -> str:
    return rng.one(DONE).partition("/")[0]


def _like(rng: RandomChoices) -> str:
    return rng.one(LIKE)


def _with_article(word: str) -> str:
    vowel = word[0] in "aeiou" and not word.startswith(("use", "usu"))  # a useful, a usual
    return f"{'an' if vowel else 'a'} {word}"


GAPS: dict[str, Callable[[RandomChoices], str]] = {
    "a_like": lambda rng: _with_article(_like(rng)),
    "a_like_up": lambda rng: _with_article(_like(rng)).capitalize(),
    "a_noun": lambda rng: _with_article(_singular(rng)),
    "do": _present,
    "do_up": lambda rng: _present(rng).capitalize(),
    "done": lambda rng: rng.one(DONE).partition("/")[2],
    "family": lambda rng: rng.one(FAMILY),
    "few": lambda rng: rng.one(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")),
    "few_up": lambda rng: rng.one(("Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")),
    "given": lambda rng: rng.one(GIVEN),
    "how": lambda rng: rng.one(HOW),
    "like": _like,
    "like_up": lambda rng: _like(rng).capitalize(),
    "many": lambda rng: str(rng.whole(11, 980)),
    "matter": lambda rng: rng.one(MATTERS),
    "matter_up": subject,
    "month": lambda rng: rng.one(MONTHS),
    "noun": _singular,
    "nouns": _plural,
    "nouns_up": lambda rng: _plural(rng).capitalize(),
    "number": lambda rng: str(rng.whole(101, 9999)),
    "time": time,
    "town": town,
    "weekday": lambda rng: rng.one(WEEKDAYS),
    "when": lambda rng: rng.one(WHEN),
    "where": lambda rng: rng.one(WHERE),
    "who": lambda rng: rng.one(WHO),
    "who_up": lambda rng: rng.one(WHO).capitalize(),
    "year": lambda rng: str(rng.whole(1790, 2025)),
}
# Each template as pieces: the text before a gap, and the gap (None at the end).
PIECES = {
    template: tuple((text, gap) for text, gap, _, _ in Formatter().parse(template))
    for templates in (SENTENCES, LETTER_SENTENCES, TITLES, HEADINGS, BULLETS, NOTICES)
    for template in templates
}


def _filled(rng: RandomChoices, templates: tuple[str, ...]) -> str:
    pieces = PIECES[rng.one(templates)]
    return "".join(text + (GAPS[gap](rng) if gap else "") for text, gap in pieces)
