"""People, places and other names, real or made of syllables. Each name is on one side of the
split."""

from __future__ import annotations

import random
import re

from models.train.corpus.facts import CAPITALS, MONTHS
from models.train.corpus.split import Split
from models.train.corpus.story_stock import BEATS
from models.train.corpus.wording import pick, words

FIRST_NAMES = words(
    "Ana Ben Carla David Elena Felix Grace Hugo Ines Jack Karin Leo Maria Noah Olga Paul Quinn "
    "Rosa Sam Tina Umar Vera Will Xenia Yusuf Zoe Alice Bob Clara Daniel Emma Frank Gita Hassan "
    "Ivan Julia Kofi Laura Marco Nina Oscar Petra Rahul Sara Tom Ursula Victor Wendy Yara Zara "
    "Adam Bella Cyril Dora Erik Fatima George Hana Igor Jana Kevin Lena Miguel Nadia Omar Priya "
    "Ravi Sofia Tara Vikram Anton Beatriz Chen Diego Eva Farid Greta Helen Ismail Jonas Kenji "
    "Lucia Mateo Nora Otto Pablo Rita Stefan Thea Ugo Viola Wanda Yuki Amara Bruno Celia Dmitri "
    "Esther Fiona Gustav Heidi Irina Jorge Katya Liam Mona Nils Oona Peter Ruth Simon Tess "
    "Valentina John Mary James Linda Robert Susan Michael Karen Anna Lucas Mia Ella Max Ida Ali "
    "Lin Mei"
)

LAST_NAMES = words(
    "Silva Smith Garcia Novak Rossi Muller Jones Kim Singh Tanaka Lopez Weber Brown Costa Dubois "
    "Ivanov Jensen Khan Lindberg Moreau Nguyen Olsen Petrov Quist Ramos Sato Torres Ueda Varga "
    "Walker Young Zeman Adams Baker Clark Diaz Evans Fischer Green Hansen Ito Johnson Keller Lee "
    "Martin Nilsson Okafor Perez Reyes Schmidt Taylor Usman Vega White Yilmaz Zhang Almeida Becker"
)

CITIES = words(
    "Paris Berlin Rome Madrid Lisbon Athens Vienna Oslo Dublin Prague London Tokyo Cairo Lima "
    "Porto Milan Lyon Hamburg Munich Seville Naples Turin Zurich Geneva Boston Chicago Denver "
    "Austin Seattle Dallas Toronto Montreal Vancouver Sydney Melbourne Perth Osaka Kyoto Nagoya "
    "Mumbai Delhi Chennai Lagos Nairobi Accra Quito Bogota Leeds Bristol York Ghent Bruges Basel "
    "Graz Linz Bergen Malmo Turku Gdansk Krakow Brno Split Varna Izmir Dubai Doha Singapore"
)

ITEMS = words(
    "lamp chair table bicycle laptop phone kettle teapot blanket carpet mirror guitar piano violin "
    "camera printer backpack umbrella jacket sweater notebook clock toaster blender sofa bookcase "
    "tent kayak helmet scooter keyboard monitor headset desk vase basket candle pillow wallet watch"
)

JOBS = words(
    "teacher doctor nurse farmer baker pilot engineer lawyer painter plumber carpenter driver chef "
    "writer musician gardener librarian mechanic scientist dentist tailor fisherman architect actor"
)

COLOURS = words("red blue green yellow black white grey brown orange purple pink silver")

# Names that belong to neither side of the split; all texts may mention them.
TRAINED_CITIES = tuple(filter(Split.TRAIN.admits, CITIES))
TRAINED_ITEMS = tuple(filter(Split.TRAIN.admits, ITEMS))

_SPLICED = (*FIRST_NAMES, *LAST_NAMES, *CITIES, *ITEMS, *JOBS)
# Every kind of word in the corpus, as a source of fragments.
_COMMON = tuple(
    sorted(set(re.findall("[a-z]{3,}", " ".join(str((BEATS, CAPITALS, MONTHS)).lower().split()))))
)
_ONSETS = words("b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t tr v w y z")
_VOWELS = words("a e i o u ai ea ia io oo ei a e i o")
_CODAS = words("n r l s m th nd rt ck x lin ra to ne ko da ri va sen den mir bel") + ("",) * 6


def syllable_word(rng: random.Random) -> str:
    """A pronounceable made-up word, lower case."""
    count = 2 if rng.random() < 0.7 else 3
    word = "".join(pick(rng, _ONSETS) + pick(rng, _VOWELS) for _ in range(count - 1))
    return word + pick(rng, _ONSETS) + pick(rng, _VOWELS) + pick(rng, _CODAS)


def spliced_word(rng: random.Random) -> str:
    """The beginning of one known word and the end of another, lower case.

    Held-out names lend their halves too. Otherwise training would never copy their rarer tokens.
    The names themselves stay unseen.
    """
    head, tail = pick(rng, _SPLICED), pick(rng, _SPLICED)
    cut = rng.randint(1, max(1, len(head) - 2))
    return (head[:cut] + tail[-rng.randint(2, 4) :]).lower()


def fragment_word(rng: random.Random) -> str:
    """Two or three pieces from the middle of any words, lower case: practises copying.

    Such words combine the tokenizer's tokens in ways that names never do.
    """
    return "".join(_fragment(rng) for _ in range(2 if rng.random() < 0.7 else 3))


def _fragment(rng: random.Random) -> str:
    word = pick(rng, _SPLICED if rng.random() < 0.6 else _COMMON).lower()
    length = rng.randint(1, min(4, len(word) - 1))
    start = rng.randint(0, len(word) - length)
    return word[start : start + length]


def made_up_word(rng: random.Random, split: Split) -> str:
    """A word that isn't a name, lower case; training also has harder words."""
    if split is Split.TRAIN and rng.random() < 0.35:
        return fragment_word(rng)
    return syllable_word(rng) if rng.random() < 0.5 else spliced_word(rng)


def unseen_word(rng: random.Random, split: Split) -> str:
    """A made-up word of one side of the split, lower case."""
    while True:
        word = made_up_word(rng, split)
        if split.admits(word):
            return word


def _draw(rng: random.Random, split: Split, known: tuple[str, ...], made_up: float) -> str:
    # Training has more made-up words than the test, because it has to teach copying.
    share = max(made_up, 0.65) if split is Split.TRAIN else made_up
    while True:
        word = made_up_word(rng, split).capitalize() if rng.random() < share else pick(rng, known)
        if split.admits(word):
            return word


def first_name(rng: random.Random, split: Split) -> str:
    """A given name."""
    return _draw(rng, split, FIRST_NAMES, 0.45)


def full_name(rng: random.Random, split: Split) -> str:
    """A given name, usually with a family name."""
    first = first_name(rng, split)
    return f"{first} {_draw(rng, split, LAST_NAMES, 0.45)}" if rng.random() < 0.6 else first


def city(rng: random.Random, split: Split) -> str:
    """A city, sometimes of two words."""
    name = _draw(rng, split, CITIES, 0.4)
    return f"{pick(rng, ('New', 'Port', 'San', 'West'))} {name}" if rng.random() < 0.06 else name


def item(rng: random.Random, split: Split) -> str:
    """A thing that can be bought."""
    thing = _draw_lower(rng, split)
    return f"{pick(rng, COLOURS)} {thing}" if rng.random() < 0.3 else thing


def _draw_lower(rng: random.Random, split: Split) -> str:
    share = 0.6 if split is Split.TRAIN else 0.25
    while True:
        word = made_up_word(rng, split) if rng.random() < share else pick(rng, ITEMS)
        if split.admits(word):
            return word
