"""WebShop: find the product that an instruction asks for, choose its options and buy it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from turngym._errors import InputError
from turngym.arguments import Index, checked_arguments
from turngym.envs.core import MAX_OBSERVATION_CHARS, TextEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split
from turngym.webshop_server.pages import page_html

try:
    from turngym.webshop_server.goals import WantedOption
    from turngym.webshop_server.pages import (
        BACK_TO_SEARCH,
        BUY,
        NEXT,
        PREVIOUS,
        RESULTS_PER_PAGE,
        Choice,
        Page,
        PageKind,
        plain_text,
        quoted_text,
        rich_text,
        usable_actions,
    )
    from turngym.webshop_server.reward import matches
    from turngym.webshop_server.settings import Engine, GoalKind, Mode, ShopSettings
    from turngym.webshop_server.shop import (
        ENDED,
        MAX_RESULTS,
        RemoteBackend,
        ShopBackend,
        ShopSession,
        open_shop,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"WebShop needs {error.name}: pip install 'turngym[webshop]'", name=error.name) from error

ObservationMode = Literal["text", "text_rich", "quoted", "html", "url"]
RewardScheme = Literal["graded", "binary", "binary_x10"]
QUERY_WORDS = 4
"""The most words in a query of the random agent."""
QUERY_CHARS = 500
"""The most characters in a query of the rule and of the oracle."""
ABOUT_THE_SHOP = ("num_products", "catalogue", "goals", "mode", "shop_seed", "engine", "index", "nouns", "url")
"""The arguments that say which shop it is."""
ORACLE_TURNS = 100
"""How long the oracle plays without a turn limit."""


class WebShopEnv(TextEnv):
    """Buy what is asked for in a shop.

    ## Description
    An instruction asks for a product with certain attributes and options below a price. The agent searches, looks at
    results, products and their details, chooses options and buys. The shop runs in this process and needs neither Java
    nor a download; its default catalogue is generated. With `url=` the shop is one that `turngym webshop serve` runs.

    ## Action Space
    `search[words]` where there is a search bar, and `click[text]` with the text of a button, a product or an option.
    Letter case does not matter.

    ## Observation Space
    The page: with `observation_mode="text"` its texts joined by ` [SEP] `, with "text_rich" a line for each, buttons
    marked, with "quoted" those below the instruction, each in quotation marks, with "html" its HTML, with "url" its
    address alone. An unusable action is answered with the reason, before the page. With
    `show_actions=True` the usable actions follow, and with `history=n` the last n actions.

    ## Starting State
    The search page with the instruction of a goal. Test are the first goals in a fixed order, 500 if there are as many
    as 5,000, then come those of validation, twice as many, then those of train.

    ## Rewards
    The purchase is rewarded with the share of wanted attributes, options and price that it fulfills, times a factor for
    the kind of product, in [0, 1]: `reward_scheme="graded"`. With "binary" only a share of 1 counts, as 1, and with
    "binary_x10" as 10.

    ## Episode End
    Terminates with the purchase. The turn limit truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `success` is a share of 1. `potential` is how much of the goal what is
    looked at and chosen fulfills; it is hidden from the agent.

    ## Arguments
    Those of `TextEnv`, and:

    * `num_products=1000`: size of the catalogue; 0 for all of a catalogue that is read.
    * `catalogue=""`: a catalogue file, or a folder with the files of the original; the generated one by default.
    * `goals="synthetic"`: or "human".
    * `mode="fixed"`: or "faithful" to the original, defects included: then no reason is given for unusable actions, a
      search is possible everywhere, and hidden commands exist.
    * `observation_mode="text"`, `reward_scheme="graded"`, `show_actions=False`, `history=0`: see above.
    * `shop_seed=0`: of the generated catalogue and of prices that are given as a range.
    * `engine="bm25"`: or "lucene", the original's search engine, which needs packages of its own. Both find the same.
      Lucene runs in Java, which does not survive a fork: `gymnasium.vector.AsyncVectorEnv` needs `context="spawn"`.
    * `nouns=""`: an installed model of spaCy, such as the original's `en_core_web_sm`, that finds the nouns of titles;
      a rule without data by default. They decide whether a purchase is of another kind than what was wanted.
    * `url=""`: a server's address, `http://127.0.0.1:3000`, with the operator's key in the environment variable
      `TURNGYM_WEBSHOP_KEY`; or with both in one, `http://operator:KEY@127.0.0.1:3000`, of which the key is written
      nowhere. The shop is as the server has it: the other arguments about it must be left out. Play and its transcript
      are the same as in this process.
    * `index=""`: a folder that `turngym webshop index` wrote for this engine and catalogue; without one the index is
      built when the shop opens.

    ## References
    * Yao et al., "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents",
      arXiv 2207.01206.

    ## Version History
    * v0: Initial version.
    """

    path_arguments = ("catalogue", "index")

    @checked_arguments
    def __init__(
        self,
        *,
        num_products: Index = 1000,
        catalogue: str = "",
        goals: GoalKind = "synthetic",
        mode: Mode = "fixed",
        observation_mode: ObservationMode = "text",
        reward_scheme: RewardScheme = "graded",
        show_actions: bool = False,
        history: Index = 0,
        shop_seed: Index = 0,
        engine: Engine = "bm25",
        index: str = "",
        nouns: str = "",
        url: str = "",
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.observation_mode = observation_mode
        self.reward_scheme = reward_scheme
        self.reward_range = self.reward_range_of(reward_scheme=reward_scheme)
        self.show_actions = show_actions
        self.history = history
        self.backend = _backend(num_products=num_products, catalogue=catalogue, goals=goals, mode=mode,
                                shop_seed=shop_seed, engine=engine, index=index, nouns=nouns, url=url)  # fmt: skip
        self.explains_refusals = self.backend.mode == "fixed"
        self.session: ShopSession | None = None

    @classmethod
    def reward_range_of(
        cls,
        *,
        reward_scheme: RewardScheme = "graded",
        **others: Any,  # noqa: ARG003
    ) -> tuple[float, float]:
        """Return the bounds of a return: with "binary_x10" a purchase earns up to 10."""
        return 0.0, 10.0 if reward_scheme == "binary_x10" else 1.0

    @classmethod
    def defining_arguments(cls, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments, with the shop that is found there in place of an address or a catalogue's path."""
        url, catalogue = arguments.get("url"), arguments.get("catalogue")
        if not (url or catalogue):
            return arguments
        backend = _backend(**{name: value for name, value in arguments.items() if name in ABOUT_THE_SHOP})
        elsewhere = {name: value for name, value in arguments.items() if name not in ABOUT_THE_SHOP}
        return {**elsewhere, "shop": backend.setup}

    def close(self) -> None:
        """Leave the shop; on a server the session ends."""
        if self.session is not None:
            self.session.end()
        self.session = None

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.close()
        self.session = self.backend.open_session(self.backend.goal_number(split, index))
        self.goal = self.session.page.goal
        self._actions: list[str] = []

    def _play(self, action: str) -> tuple[float, bool, str]:
        before = self._here.page.kind
        if before is PageKind.DONE:
            raise InvalidAction(ENDED)  # the original goes on, and pays again
        problem = self._here.act(action)
        self._actions.append(action)
        if problem:
            raise InvalidAction(problem)
        bought = self._here.page.kind is PageKind.DONE
        return self._reward() if bought else 0.0, bought, ""

    @property
    def _here(self) -> ShopSession:
        if self.session is None:
            raise RuntimeError("call reset() first")
        return self.session

    def _reward(self) -> float:
        share = self._here.page.reward or 0.0
        return share if self.reward_scheme == "graded" else self.reward_range[1] * (share == 1.0)

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        return (
            "You are in a shop. Find and buy what the instruction asks for: the right kind of product, with the "
            "attributes and options named, below the price named. Actions are search[words] where there is a search "
            "bar, and click[text] with the text of a button, a product or an option on the page, such as "
            f"click[{BUY}]. {self._reward_rule} You buy once."
        )

    @property
    def _reward_rule(self) -> str:
        if self.reward_scheme == "graded":
            return "The purchase earns the share of what was asked for, from 0 to 1."
        return f"A purchase that is all that was asked for earns {self.reward_range[1]:g}, any other 0."

    def _observe(self, feedback: str) -> str:
        lines = [self._page_text()]
        if feedback and self.explains_refusals:
            lines.insert(0, feedback)
        if self.history and self._actions:
            lines.append(f"Your last actions: {' '.join(self._actions[-self.history :])}")
        if self.show_actions:
            lines.append(f"Usable actions: {' '.join(self._usable_actions())}")
        return "\n".join(lines)[:MAX_OBSERVATION_CHARS]

    def _page_text(self) -> str:
        match self.observation_mode:
            case "text":
                return plain_text(self._here.parts)
            case "text_rich":
                return rich_text(self._here.parts)
            case "quoted":
                return quoted_text(self._here.parts)
            case "html":
                return page_html(self._here.page, self._here.parts)
            case "url":
                return self._here.page.url

    def _usable_actions(self) -> list[str]:
        return usable_actions(self._here.page, self._here.parts)

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def instance_key(self) -> str:
        """The number of the goal in the fixed order."""
        return f"goal={self._here.page.session}"

    @property
    def _state(self) -> str:
        page = self._here.page
        return f"{page.url};{','.join(page.chosen.values())};{','.join(sorted(page.visited))}"

    @property
    def _success(self) -> bool:
        return self._here.page.reward == 1.0

    @property
    def _potential(self) -> float:
        return self._here.potential

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw one of the usable actions; a search is for some successive words of the instruction."""
        actions = self._usable_actions() or ["search[words]"]
        action = actions[rng.integers(len(actions))]
        if action != "search[words]":
            return action
        words = self.goal.instruction.split()
        first = int(rng.integers(len(words)))
        return f"search[{' '.join(words[first : first + int(rng.integers(1, QUERY_WORDS + 1))])}]"

    def oracle_action(self) -> str:
        """Return the next step towards the goal's own product with the options that are wanted."""
        return self._oracle_step(self._here)

    def rule_action(self) -> str:
        """Search for the instruction, look at the first result, and buy it: the rule of the original's paper."""
        page = self._here.page
        if page.kind is PageKind.START:
            return f"search[{self.goal.instruction[:QUERY_CHARS]}]"
        if page.kind is PageKind.RESULTS and page.listed:
            return f"click[{page.listed[0]}]"
        return f"click[{BUY if page.kind is PageKind.ITEM else BACK_TO_SEARCH}]"

    def optimal_success(self) -> float | None:
        """1 where the oracle's purchase is all that was asked for, within the turn limit; None where it is not."""
        session = self.backend.open_session(int(self._here.page.session))
        for _ in range(ORACLE_TURNS if self.turn_limit is None else self.turn_limit):
            session.act(self._oracle_step(session))
            if session.page.kind is PageKind.DONE:
                break
        session.end()
        return 1.0 if session.page.reward == 1.0 else None

    def _oracle_step(self, session: ShopSession) -> str:
        page = session.page
        wanted = self.goal.asin
        if page.kind is PageKind.DONE or (page.kind is PageKind.RESULTS and wanted not in page.found):
            return f"click[{BACK_TO_SEARCH}]"
        if page.kind is PageKind.START:
            return f"search[{self._query_for_goal()}]"
        if page.kind is PageKind.RESULTS:
            number = page.found.index(wanted) // RESULTS_PER_PAGE + 1
            return f"click[{wanted if number == page.number else NEXT if number > page.number else PREVIOUS}]"
        if page.kind is PageKind.DETAIL or page.asin != wanted:
            return f"click[{PREVIOUS}]"
        choices = [part for part in session.parts if isinstance(part, Choice)]
        missing = (choice for option in self.goal.options if not _is_chosen(option, page)
                   for choice in choices if _is_wanted(option, choice))  # fmt: skip
        return f"click[{next((choice.text for choice in missing), BUY)}]"

    def _query_for_goal(self) -> str:
        """Return a query that finds the goal's product, on the first page if any does."""
        queries = (self.goal.title, f"{self.goal.query} {self.goal.title}", self.goal.instruction)
        return min((query[:QUERY_CHARS] for query in queries), key=self._rank)

    def _rank(self, query: str) -> int:
        found = list(self.backend.search(query.lower(), MAX_RESULTS))
        return found.index(self.goal.asin) if self.goal.asin in found else MAX_RESULTS


def _backend(*, url: str = "", shop_seed: int = 0, **settings: Any) -> ShopBackend:
    """Return the shop that arguments of the environment mean."""
    local = ShopSettings(seed=shop_seed, **settings)
    if url and local != ShopSettings():
        raise InputError("with url= the shop is as its server has it; give the arguments about it to the server")
    return RemoteBackend(url) if url else open_shop(local)


def _is_chosen(wanted: WantedOption, page: Page) -> bool:
    chosen = page.chosen.values() if wanted.name is None else [page.chosen.get(wanted.name, "")]
    return any(_same(wanted, value) for value in chosen)


def _is_wanted(wanted: WantedOption, choice: Choice) -> bool:
    return wanted.name in (None, choice.option) and _same(wanted, choice.value)


def _same(wanted: WantedOption, value: str) -> bool:
    """Return whether a value is the one wanted; a person may have written it a little differently."""
    return value == wanted.value or (wanted.name is None and matches(value, wanted.value))
