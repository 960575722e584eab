"""Nothing comes in; stories and jokes to tell go out, each story longer than 45 s when spoken."""

from __future__ import annotations

STORIES: dict[str, str] = {
    "lighthouse": (
        "On a small island where no ship had stopped for years, an old keeper named Marta still "
        "climbed the hundred steps of her lighthouse every evening. She trimmed the lamp, polished "
        "the glass, and wrote one line in the book by the window. Most lines were the same. Calm "
        "sea, nobody passing. One autumn night the wind turned, and rain came in from the west so "
        "thick that the lamp lit nothing but water. Marta was about to go to bed when she heard a "
        "bell, very faint, ringing out of time. Someone was out there. She could not row in such a "
        "sea, and the light alone would not show the rocks. So she took every mirror in the house, "
        "the one from the hall, the one from the bath, even the little one her mother had left "
        "her, and stood them on the gallery until the beam was split into a fan. For an hour she "
        "turned them by hand, drawing a bright road across the waves. At last a fishing boat crept "
        "along that road, past the rocks, and into the quiet water behind the island. On board "
        "were two brothers and a very wet dog. They drank all her tea, slept by the stove, and "
        "left in the morning with the bell, which they hung on her door as a present. That evening "
        "Marta opened the book and wrote a new line. Rough sea, three visitors, and the best night "
        "in years."
    ),
    "clockmaker": (
        "There was once a clockmaker who could not bear to be late, in a town where everyone "
        "always was. The baker opened when the bread felt ready. The train left when the driver "
        "had finished his coffee. Even the church bell rang whenever the boy remembered it. So the "
        "clockmaker built a great clock for the market square, with four faces and a silver "
        "hammer, and he promised that it would never be wrong by a single second. The town was "
        "proud of it, and for one week everyone hurried. The baker burned his rolls. The driver "
        "spilled his coffee. The children ran to school and arrived too tired to listen. On the "
        "eighth day an old woman came into the workshop and laid a small wooden box on the bench. "
        "Inside was a watch without any hands. It belonged to my husband, she said, and it has "
        "never once been wrong. The clockmaker laughed, and then he thought about it all night. In "
        "the morning he climbed up to the great clock with a screwdriver, and took off the hand "
        "that showed the minutes. From then on the clock told the hour and nothing more. The bread "
        "was good again, the train left after coffee, and whoever met the clockmaker in the square "
        "found that, for the first time in his life, he had time to talk."
    ),
    "fox": (
        "A young fox wanted to learn to play the violin, because she had heard one through the "
        "window of a farmhouse and could not forget it. She had no violin, of course, so she asked "
        "the other animals for help. The beaver carved a body out of a fallen maple. The spider "
        "spun four strings and doubled them twice. The horse, who was shy, gave a few hairs of his "
        "tail without saying a word. When it was done the fox lifted it to her chin and played, "
        "and it was terrible. The owl put a leaf in each ear. The rabbits moved to another field. "
        "The fox was ashamed, but she could not stop, so she carried the violin up to the bare "
        "hill where only the wind lived. All winter she played against the wind, and the wind "
        "played back. It showed her how to begin softly, how to hold a note until it trembles, and "
        "how to leave a silence where a silence belongs. In spring she came down again. She did "
        "not announce anything. She sat on a stump at the edge of the wood and played what the "
        "hill had sounded like under the snow. One by one the animals came out of their holes to "
        "listen, and the owl took the leaves out of his ears. When it was over nobody clapped, "
        "because nobody wanted to be the first to make another sound. Then the horse, who was shy, "
        "said one word. He said, again."
    ),
}

JOKES: tuple[str, ...] = (
    "Why did the microphone go to the doctor? It kept picking something up.",
    "I wanted to tell you a joke about an echo. About an echo. But you have heard it already.",
    "What does a clock do when it is hungry? It goes back four seconds.",
    "Why are telephones so calm? They have learned to hold the line.",
)
