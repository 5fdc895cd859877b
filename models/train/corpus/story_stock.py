"""The fixed stock of characters, places and events for all stories."""

from __future__ import annotations

# (name, animal)
CHARACTERS = (
    ("Mira", "fox"),
    ("Otto", "owl"),
    ("Bella", "bear"),
    ("Nico", "hare"),
    ("Lulu", "duck"),
    ("Rufus", "dog"),
    ("Tilda", "cat"),
    ("Pip", "mouse"),
    ("Hugo", "horse"),
    ("Fern", "deer"),
    ("Max", "wolf"),
    ("Dora", "hen"),
)

PLACES = ("forest", "village", "mountain", "island", "harbour", "meadow", "desert", "castle")

# A story describes one day, so that each beat's first words say which beat comes next.
BEATS = (
    (
        "Once upon a time there was a {animal} called {name}, who lived near the {place}.",
        "Long ago, close to the {place}, there lived a {animal} whose name was {name}.",
        "There was once a small {animal} named {name}, and the {place} was all the world to "
        "{name}.",
    ),
    (
        "One morning {name} woke up early and found a letter under the door. The letter said:"
        " come to the old bridge before the sun goes down, and bring a friend.",
        "One morning {name} heard a strange bell ringing far away. Nobody had rung that bell "
        "for a hundred years, so {name} put on a warm scarf and went to look.",
        "One morning {name} found a tiny golden key in the grass. It was still wet with dew, "
        "and on it was written a single word: tonight.",
        "One morning {name} noticed that the well was dry. Without water there would be no "
        "soup and no tea, so something had to be done at once.",
    ),
    (
        "After breakfast {name} met {friend}, who was mending a boat. I will go with you, "
        "said {friend}, because two pairs of eyes see more than one.",
        "After breakfast {name} met {friend}, who was counting clouds. That can wait, said "
        "{friend}, and packed bread, cheese and a long rope.",
        "After breakfast {name} met {friend}, who knew every path by heart. Follow me, said "
        "{friend}, and do not step on the white stones.",
    ),
    (
        "Before noon the two friends came to a wide river. The bridge was broken, but a "
        "patient turtle carried them across, one after the other.",
        "Before noon the two friends came to a gate without a wall. They laughed, walked "
        "around it and waved to the guard, who was asleep.",
        "Before noon the two friends came to a field of tall sunflowers. The flowers turned "
        "their heads and whispered the way to the hill.",
        "Before noon the two friends came to a market. They traded the cheese for a small "
        "lantern and a map with a hole in the middle.",
    ),
    (
        "At noon it began to rain, and they hid under an old oak tree. A wet bird told them a"
        " joke, and they laughed until the rain stopped.",
        "At noon they shared their bread in the shade. A shy hedgehog came closer, so they "
        "gave it the biggest piece, and the hedgehog told them a secret.",
        "At noon the wind took the map away. {friend} was sad, but {name} said that a map "
        "with a hole was only half a map anyway.",
    ),
    (
        "In the afternoon they climbed the hill and saw smoke in the distance. It was not a "
        "fire, but a baker who had burned forty loaves and needed help.",
        "In the afternoon they lost their way in the fog. {name} sang a song, and step by "
        "step the echo led them back to the road.",
        "In the afternoon they found a cave full of sleeping bats. On the wall somebody had "
        "drawn a picture of a tower, a moon and a key.",
        "In the afternoon they helped an old goat to carry her firewood. She thanked them and"
        " gave them a whistle that only the brave can hear.",
    ),
    (
        "Towards evening {friend} wanted to turn back. But {name} said that the last mile is "
        "always the longest, and so they went on together.",
        "Towards evening they sat down on a stone and counted what they had: one rope, one "
        "lantern and a great deal of courage.",
        "Towards evening a grey cat crossed their path and asked three riddles. They knew the"
        " answer to two of them, and that was enough.",
    ),
    (
        "At sunset they reached the old tower. Its door was locked, but the key fitted, and "
        "inside there was a staircase that went down instead of up.",
        "At sunset they reached the old bridge. Under it sat a giant who was crying, because "
        "he had lost the only button of his coat.",
        "At sunset they reached the top of the cliff. Below them the sea was as smooth as "
        "glass, and a small ship was waiting with its lamps lit.",
        "At sunset they reached a garden behind a hedge. In the middle stood a clock that had"
        " stopped, and beside it lay a feather made of silver.",
    ),
    (
        "When it was dark, {name} was afraid for a moment. Then {friend} lit the lantern, and"
        " the shadows turned out to be nothing but coats on a hook.",
        "When it was dark, a door opened by itself. Behind it they found a room full of "
        "books, and every book told the story of a traveller.",
        "When it was dark, a thousand fireflies rose into the air. They made an arrow of "
        "light, and the arrow pointed straight to the treasure.",
    ),
    (
        "At midnight they found what they had been looking for: a music box that played the "
        "song of their grandmothers. They listened until the very last note.",
        "At midnight they found what they had been looking for: a spring of clear water. They"
        " filled their bottles and drank to the health of the {place}.",
        "At midnight they found what they had been looking for: a chest with a single seed "
        "inside. Plant it, said a voice, and you will never be hungry.",
    ),
    (
        "The next day the two friends walked home and told everybody what they had seen. The "
        "whole {place} came to listen, and nobody wanted to go to bed.",
        "The next day the two friends walked home with sore feet and happy hearts. There was "
        "soup on the table, and it had never tasted so good.",
        "The next day the two friends walked home by the short way. They gave the lantern to "
        "the guard at the gate, so that he would not fall asleep again.",
    ),
    (
        "And from that day on, {name} the {animal} was never afraid of the dark again. The end.",
        "And if you go to the {place} today, you can still hear {name} and {friend} laugh. "
        "The end.",
        "And so {name} learned that the best treasure is a friend who comes along. The end.",
    ),
)
