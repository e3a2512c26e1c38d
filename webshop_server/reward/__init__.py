"""What a purchase is worth: how much of the goal it fulfills."""

from turngym.webshop_server.reward.matching import color_word, matches
from turngym.webshop_server.reward.nouns import SpacyNouns, words_as_nouns
from turngym.webshop_server.reward.reward import NounExtractor, Reward, RewardError, reward_of

__all__ = [
    "NounExtractor",
    "Reward",
    "RewardError",
    "SpacyNouns",
    "color_word",
    "matches",
    "reward_of",
    "words_as_nouns",
]
