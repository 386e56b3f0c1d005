"""Small texts with a structure that can be learnt."""

import numpy as np

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "it", "go"]


def prose(words=2000, seed=0):
    """Words of which each is followed by one of two, in paragraphs of 20 words."""
    random = np.random.RandomState(seed)
    number, lines = 0, []
    for _ in range(words // 20):
        line = []
        for _ in range(20):
            number = (3 * number + 1 + random.randint(2)) % len(WORDS)
            line.append(WORDS[number])
        lines.append(" ".join(line))
    return "\n\n".join(lines) + "\n"
