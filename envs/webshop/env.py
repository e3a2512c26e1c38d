"""WebShop: find the product that an instruction asks for, choose its options and buy it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from turngym._errors import InputError
from turngym.arguments import Index, checked_arguments
from turngym.envs.core import MAX_OBSERVATION_CHARS, TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split
from turngym.envs.webshop.compact import CompactView, in_short, spaced
from turngym.envs.webshop.oracle import ORACLE_TURNS, oracle_step
from turngym.envs.webshop.shopper import LOOKS, QUERY_CHARS, Shopper
from turngym.envs.webshop.sight import Sight, sight_of
from turngym.envs.written import (
    WRITTEN_INSTANCES,
    InvalidInstance,
    UnsolvableInstance,
    Written,
    check_placed,
    index_of,
)
from turngym.webshop_server.goals import Goal
from turngym.webshop_server.pages import (
    BACK_TO_SEARCH,
    BUY,
    PREVIOUS,
    SEARCH,
    Choice,
    PageKind,
    clickables,
    page_html,
    page_picture,
    plain_text,
    quoted_text,
    rich_text,
    usable_actions,
)
from turngym.webshop_server.settings import Engine, GoalKind, Mode, ShopSettings
from turngym.webshop_server.shop import (
    ENDED,
    LocalBackend,
    RemoteBackend,
    ShopBackend,
    ShopSession,
    UnfulfilledWishError,
    WishError,
    open_shop,
)

ObservationMode = Literal["text", "text_rich", "quoted", "compact", "html", "url"]
RewardScheme = Literal["graded", "binary", "binary_x10"]
QUERY_WORDS = 4
"""The most words in a query of the random agent."""
COMPACT_RULES = (
    "A result is clicked by its number. On other pages than the first there are click[ back to search ] and click[ < "
    "prev ], on the page of a product click[ details ] too. What was shown before is named and not shown again. "
)
"""What the rules say of buttons that `observation_mode="compact"` does not show."""
ABOUT_THE_SHOP = ("num_products", "catalogue", "goals", "mode", "shop_seed", "engine", "index", "nouns", "url")
"""The arguments that say which shop it is."""


class WebShopEnv(TextEnv):
    """Buy what is asked for in a shop.

    ## Description
    An instruction asks for a product with certain attributes and options below a price. The agent searches, looks at
    results, products and their details, chooses options and buys. The shop runs in this process and needs neither Java
    nor a download; its default catalogue is generated. With `url=` the shop is one that `turngym webshop serve` runs.

    ## Action Space
    `search[words]` where there is a search bar, and `click[text]` with the text of a button, a product or an option.
    Letter case does not matter. With `observation_mode="compact"` spaces do not either, a result is also clicked by its
    number, and `click[details]` opens description and features as one page.

    ## Observation Space
    The page: with `observation_mode="text"` its texts joined by ` [SEP] `, with "text_rich" a line for each, buttons
    marked, with "html" its HTML, with "url" its address alone. "quoted" is a whole prompt, as agents read it that see
    one page at a time: the task, the step, the last steps, the texts in quotation marks, and the usable actions.
    "compact" has few words, all of which can be copied into actions, see `turngym.envs.webshop.compact`; its results
    show the first `title_words` words of titles. An unusable action is answered with the reason, before the page. With
    `show_actions=True` the usable actions follow, and with `history=n` the last n actions, in "quoted" with the pages
    on which they were done.

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
    looked at and chosen fulfills; it is hidden from the agent. Besides, as the original and those who train on it call
    them: `instruction`, `available_actions`, and where a product is looked at or bought `task_score` (what the purchase
    earns, in [0, 1], whatever the reward scheme) with its parts `r_type` (the factor for the kind), `r_att`, `r_option`
    (only if options are wanted) and `r_price`, each a share in [0, 1] and as hidden as the potential.

    ## Arguments
    Those of `TextEnv`, and:

    * `num_products=1000`: size of the catalogue; 0 for all of a catalogue that is read.
    * `catalogue=""`: a catalogue file, or a folder with the files of the original; the generated one by default.
    * `goals="synthetic"`: or "human".
    * `mode="fixed"`: or "faithful" to the original, defects included: then no reason is given for unusable actions, a
      search is possible everywhere, and hidden commands exist.
    * `observation_mode="text"`, `title_words=4`, `reward_scheme="graded"`, `show_actions=False`, `history=0`: see
      above.
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
    presentation_arguments = ("observation_mode", "title_words", "show_actions", "history", "reasoning")

    @checked_arguments
    def __init__(
        self,
        *,
        num_products: Index = 1000,
        catalogue: str = "",
        goals: GoalKind = "synthetic",
        mode: Mode = "fixed",
        observation_mode: ObservationMode = "text",
        title_words: Index = 4,
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
        self.title_words = title_words
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

    def num_instances(self, split: Split) -> int:
        """Return how many goals a split has."""
        first, end = self.backend.goal_range(split)
        return end - first

    def close(self) -> None:
        """Leave the shop; on a server the session ends."""
        if self.session is not None:
            self.session.end()
        self.session = None

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.close()
        self.session = self.backend.open_session(self._goal_number(split, index))
        self.goal = self.session.page.goal
        self._steps: list[tuple[int, str, str]] = []
        """The number of each step, the page that was shown before it, and what was done there."""
        self._shown = ""
        self._compact = CompactView(self.title_words) if self.observation_mode == "compact" else None
        self._visited = [(self.session.page, self.session.parts)]
        self._shoppers: dict[tuple[int, bool, bool], tuple[Shopper, int]] = {}

    def _goal_number(self, split: Split, index: int) -> int:
        """Return the number of the goal of an instance, which is one of the fixed order or a wish."""
        if index < WRITTEN_INSTANCES:
            return self.backend.goal_number(split, index)
        shop = self._local_shop
        wish = index - WRITTEN_INSTANCES
        goal = shop.wishes.goal(wish)
        check_placed(split, shop.wishes.text(goal), shop.wishes.split_of(goal))
        return len(shop.goals) + wish

    def _play(self, action: str) -> tuple[float, bool, str]:
        before = self._here.page
        if before.kind is PageKind.DONE:
            raise InvalidAction(ENDED)  # the original goes on, and pays again
        problem = self._compact.act(self._here, action, self._do) if self._compact else self._do(action)
        step = (self.turns_taken, self._shown, action)
        if not self._steps or self._steps[-1][0] < self.turns_taken:
            self._steps.append(step)
        elif not problem:  # in the place of a reading of the same reply that was refused
            self._steps[-1] = step
        if problem:
            raise InvalidAction(problem)
        bought = self._here.page.kind is PageKind.DONE
        return self._reward() if bought else 0.0, bought, ""

    def _do(self, action: str) -> str:
        """Do an action of the shop; return why it means nothing here, or nothing."""
        problem = self._here.act(action)
        self._visited.append((self._here.page, self._here.parts))
        return problem

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
        example = f"click[ {BUY.lower()} ]" if self.observation_mode == "compact" else f"click[{BUY}]"
        return (
            "You are in a shop. Find and buy what the instruction asks for: the right kind of product, with the "
            "attributes and options named, below the price named. Actions are search[words] where there is a search "
            f"bar, and click[text] with the text of a button, a product or an option on the page, such as {example}. "
            f"{COMPACT_RULES if self.observation_mode == 'compact' else ''}{self._reward_rule} You buy once."
            f"{f' The instruction: {self.goal.instruction}' if self.observation_mode == 'url' else ''}"
        )

    @property
    def _reward_rule(self) -> str:
        if self.reward_scheme == "graded":
            return "The purchase earns the share of what was asked for, from 0 to 1."
        return f"A purchase that is all that was asked for earns {self.reward_range[1]:g}, any other 0."

    def _observe(self, feedback: str) -> str:
        page = self._shown = self._page_text(refused=bool(feedback))
        told = [feedback] if feedback and self.explains_refusals else []
        usable = [f"Usable actions: {' '.join(self._usable_actions())}"] if self.show_actions else []
        if self.observation_mode == "quoted":
            return self._prompt(page, told, usable)
        last = " ".join(action for _, _, action in self._last_steps)
        past = [f"Your last actions: {last}"] if last else []
        return "\n".join([*told, page, *past, *usable])[:MAX_OBSERVATION_CHARS]

    def _prompt(self, page: str, told: list[str], usable: list[str]) -> str:
        """Return a page as a prompt of its own, without the last steps where it would be too long with them."""
        limit = f" of {self.turn_limit}" if self.turn_limit else ""
        head = f"Task: {self.goal.instruction}\nStep {self.turns_taken + 1}{limit}."
        past = [f"Step {number} showed {shown}, and you did {action}." for number, shown, action in self._last_steps]
        lines = [*told, f"Now you see: {page}", *usable]
        whole = "\n".join([head, *past, *lines])
        return whole if len(whole) <= MAX_OBSERVATION_CHARS else "\n".join([head, *lines])[:MAX_OBSERVATION_CHARS]

    @property
    def _last_steps(self) -> list[tuple[int, str, str]]:
        """The last `history` steps."""
        return self._steps[-self.history :] if self.history else []

    def _page_text(self, *, refused: bool) -> str:
        page, parts = self._here.page, self._here.parts
        match self.observation_mode:
            case "text":
                return plain_text(parts)
            case "text_rich":
                return rich_text(parts)
            case "quoted":
                return quoted_text(parts)
            case "compact":
                assert self._compact is not None
                return self._compact.text(page, parts, refused=refused)
            case "html":
                return page_html(page, parts)
            case "url":
                return page.url

    def _usable_actions(self) -> list[str]:
        return [self._said(action) for action in usable_actions(self._here.page, self._here.parts)]

    def _said(self, action: str) -> str:
        """Return an action of the shop as it is said in this observation mode."""
        return in_short(action, self._here.page) if self._compact else action

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
        worth = self._here.worth
        return worth.total if worth else 0.0

    def _more_info(self) -> dict[str, Any]:
        texts = [text for text in clickables(self._here.parts) if text != SEARCH.lower()]
        info: dict[str, Any] = {
            "instruction": self.goal.instruction,
            "available_actions": {"has_search_bar": self._here.page.kind is PageKind.START, "clickables": texts},
        }
        if worth := self._here.worth:
            parts = {"task_score": worth.total, "r_type": worth.type_factor, "r_att": worth.attribute_share,
                     "r_option": worth.option_share, "r_price": float(worth.within_bound)}  # fmt: skip
            info |= {name: share for name, share in parts.items() if share is not None}
        return info

    def drawing(self) -> Drawing:
        """Return the page as people see it; nothing on it can be pressed."""
        page, parts = self._here.page, self._here.parts
        return Drawing(kind="html", source=page_picture(page, parts), words=plain_text(parts))

    # As text ----------------------------------------------------------------------------------------------------

    @property
    def instance_form(self) -> str:
        """What a wish is and how it is written."""
        example = self._worded(self.backend.open_session(self.backend.goal_number("train", 0)).page.goal)
        return ("A wish is a kind of product, attributes that it is to have, options to choose if it has any, and the "
                "most that it may cost, between semicolons; there is a product in the shop that fulfills it. It is "
                f"written such as: {example}")  # fmt: skip

    def written_instance(self) -> str:
        """Return the present goal as a wish, such as `desk lamps; dimmable; color: gloss white; 130`."""
        return self._worded(self.goal)

    def read_instance(self, text: str) -> Written:
        """Return split and index of the wish that a text is: that of a held-out goal for the same, otherwise train.

        Raises:
            InvalidInstance: It is none, or nothing in the shop fulfills it.
            InputError: The shop is on a server.
        """
        try:
            split, wish = self._local_shop.wishes.read(text)
        except UnfulfilledWishError as error:
            raise UnsolvableInstance(str(error)) from error
        except WishError as error:
            raise InvalidInstance(str(error)) from error
        return split, index_of(wish)

    def _worded(self, goal: Goal) -> str:
        text = self._local_shop.wishes.text(goal)
        return spaced(text) if self.observation_mode == "compact" else text

    @property
    def _local_shop(self) -> LocalBackend:
        if not isinstance(self.backend, LocalBackend):
            raise InputError("a shop on a server reads no wishes: leave out url=, for a shop in this process")
        return self.backend

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw one of the usable actions; a search is for some successive words of the instruction."""
        actions = usable_actions(self._here.page, self._here.parts) or ["search[words]"]
        action = actions[rng.integers(len(actions))]
        if action != "search[words]":
            return self._said(action)
        words = self.goal.instruction.split()
        first = int(rng.integers(len(words)))
        return self._said(f"search[{' '.join(words[first : first + int(rng.integers(1, QUERY_WORDS + 1))])}]")

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Draw what a careless shopper does: look at any result, choose any value, go back, or click what is not there.

        It never buys, so that there is a way on.
        """
        page, parts = self._here.page, self._here.parts
        if rng.random() < 0.25:
            words = self.goal.instruction.split()
            return self._said(f"click[{words[rng.integers(len(words))]}]")
        choices = [part.text for part in parts if isinstance(part, Choice)]
        match page.kind:
            case PageKind.RESULTS if page.listed:
                return self._said(f"click[{page.listed[rng.integers(len(page.listed))]}]")
            case PageKind.ITEM if choices and rng.random() < 0.5:
                return self._said(f"click[{choices[rng.integers(len(choices))]}]")
            case PageKind.ITEM | PageKind.DETAIL:
                return self._said(f"click[{PREVIOUS}]")
        return self.sample_action(rng)

    def oracle_action(self) -> str:
        """Return the next step towards the goal's own product with the options that are wanted."""
        return self._said(oracle_step(self.goal, self._here, self.backend))

    def rule_action(self) -> str:
        """Search for the instruction, look at the first result, and buy it: the rule of the original's paper."""
        page = self._here.page
        if page.kind is PageKind.START:
            return self._said(f"search[{self.goal.instruction[:QUERY_CHARS]}]")
        if page.kind is PageKind.RESULTS and page.listed:
            return self._said(f"click[{page.listed[0]}]")
        return self._said(f"click[{BUY if page.kind is PageKind.ITEM else BACK_TO_SEARCH}]")

    def shopper_action(self, *, looks: int = LOOKS, details: bool = False, prices: bool = False) -> str:
        """Return what a shopper does next who reads visible text alone and has seen what this episode has shown.

        The arguments are those of `turngym.envs.webshop.shopper.Shopper`.
        """
        return self._said(self._shopper((looks, details, prices)).action(self._sight, self._left))

    def shopper_thoughts(self, *, looks: int = LOOKS, details: bool = False, prices: bool = False) -> str:
        """Return what that shopper notes before its next action; nothing where it has nothing to note."""
        thoughts = self._shopper((looks, details, prices)).thoughts(self._sight, self._left)
        return spaced(thoughts) if self._compact else thoughts

    def _shopper(self, kind: tuple[int, bool, bool]) -> Shopper:
        """Return the shopper of a kind, who has seen what this episode has shown."""
        shopper, known = self._shoppers.get(kind) or (Shopper(*kind, one_page=self._compact is not None), 0)
        for page, parts in self._visited[known:]:
            shopper.see(sight_of(page, parts))
        self._shoppers[kind] = shopper, len(self._visited)
        return shopper

    @property
    def _left(self) -> float:
        """Turns until the limit."""
        return float("inf") if self.turns_left is None else self.turns_left

    @property
    def _sight(self) -> Sight:
        return sight_of(self._here.page, self._here.parts)

    def optimal_success(self) -> float | None:
        """1 where the oracle's purchase is all that was asked for, within the turn limit; None where it is not."""
        session = self.backend.open_session(int(self._here.page.session))
        for _ in range(ORACLE_TURNS if self.turn_limit is None else self.turn_limit):
            session.act(oracle_step(self.goal, session, self.backend))
            if session.page.kind is PageKind.DONE:
                break
        session.end()
        return 1.0 if session.page.reward == 1.0 else None


def _backend(*, url: str = "", shop_seed: int = 0, **settings: Any) -> ShopBackend:
    """Return the shop that arguments of the environment mean."""
    local = ShopSettings(seed=shop_seed, **settings)
    if url and local != ShopSettings():
        raise InputError("with url= the shop is as its server has it; give the arguments about it to the server")
    return RemoteBackend(url) if url else open_shop(local)
