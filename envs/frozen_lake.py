"""FrozenLake in words: Gymnasium's own lake, told as text and played in text."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from turngym.arguments import Count, PositiveShare, Range, Share, checked_arguments
from turngym.envs.core import TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.frozen_lake_drawing import lake_drawing
from turngym.envs.frozen_lake_maps import EDGE, Lake, draw_lake, odds_of, read_lake, transition_table, written
from turngym.envs.frozen_lake_values import Dynamics, Solution, random_values, solve
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split
from turngym.envs.written import Written

View = Literal["grid", "coordinates"]

MOVES = ("left", "down", "right", "up")
"""The words for Gymnasium's actions 0 to 3."""
PLAYER = {"S": "P", "F": "P", "H": "X", "G": "*"}
"""How the picture shows the player, by what is underneath."""
Size = Annotated[int, Range(low=2, high=16)]
"""Rows and columns of a lake."""

_NUMBERS = {word: move for move, word in enumerate(MOVES)}
_ENDINGS = {"S": ".", "F": ".", "H": " and fell into a hole.", "G": " and reached the goal."}


class FrozenLakeEnv(TextEnv):
    """Cross a frozen lake to the goal without falling into a hole.

    ## Description
    The game of Gymnasium's `FrozenLakeEnv` in text: moves lead where its transition table says, and the same draws
    decide. Every instance is another lake with a way from start to goal. On slippery ice a move may go to either side
    of where it was meant to.

    ## Action Space
    One of the words `left`, `down`, `right`, `up` in any case, or up to `actions_per_turn` of them separated by spaces
    or commas. Anything else, and more moves than are allowed or left, is an invalid action: it costs the turn and
    moves nothing. The rest of a reply is ignored once a move has ended the game.

    ## Observation Space
    What the last moves did, the lake, the four cells around, and the moves left. In the grid view:

    ```
    Moved right.
    _ _ _ O
    _ P _ _
    _ O _ G
    _ _ _ _
    Around: left ice, down hole, right ice, up ice.
    Moves left: 9.
    ```

    `P` you, `_` ice, `O` hole, `G` goal, `X` you in a hole, `*` you on the goal. The coordinates view has
    `You: row 2 column 2. Goal: row 3 column 4. Holes: row 1 column 4; row 3 column 2.` in place of the grid.

    ## Starting State
    Every cell is ice with probability `frozen_probability`. Start and goal are two distinct cells, drawn uniformly,
    or the corners. Lakes without a way are drawn again, as a whole.

    ## Rewards
    1 for reaching the goal, otherwise 0.

    ## Episode End
    Terminates on the goal, in a hole, and when the action budget is spent while turns remain. The turn limit truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`. `potential` falls linearly with the distance to the goal over ice: 0 at
    the farthest cell from which the goal can be reached, 1 at the goal.

    ## Arguments
    Those of `TextEnv`, and:

    * `size=4`: rows and columns, 2 to 16.
    * `frozen_probability=0.8`: in (0, 1].
    * `success_rate=1.0`: probability in [0, 1] that a move goes where it was meant to; the rest is shared equally by
      the two sides. 1 is not slippery; 1/3 is Gymnasium's slippery lake.
    * `corners=False`: whether the start is the top left and the goal the bottom right corner.
    * `actions_per_turn=1`: most moves in one reply.
    * `action_budget=10`: moves in all; None for no limit.
    * `view="grid"`: or "coordinates".

    The oracle is optimal. Only where the ice is slippery and fewer turns than moves are left, so that moves must be
    made unseen, does it play the likeliest course instead, and `optimal_success` is then unknown.

    ## References
    * Gymnasium, https://gymnasium.farama.org/environments/toy_text/frozen_lake/
    * RAGEN, arXiv:2504.20073: random starts and goals, a budget of 10 moves; `FrozenLakeSlippery-v0` and
      `FrozenLakeWindy-v0` are the lakes of its first and second version.

    ## Version History
    * v0: Initial version.
    """

    reward_range = (0.0, 1.0)  # whatever the arguments
    presentation_arguments = ("view", "reasoning")

    @checked_arguments
    def __init__(
        self,
        *,
        size: Size = 4,
        frozen_probability: PositiveShare = 0.8,
        success_rate: Share = 1.0,
        corners: bool = False,
        actions_per_turn: Count = 1,
        action_budget: Count | None = 10,
        view: View = "grid",
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.size = size
        self.frozen_probability = frozen_probability
        self.success_rate = success_rate
        self.corners = corners
        self.actions_per_turn = actions_per_turn
        self.action_budget = action_budget
        self.view = view
        self.deterministic = success_rate == 1
        self._odds = odds_of(success_rate)

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self._lake = self._drawn_lake(split, index)
        self.rows = self._lake.rows
        self.np_random.random()  # Gymnasium's lake draws its start; this keeps what chance brings afterwards the same
        self._cell = self._lake.start
        self._way = [self._cell]
        """The cells that were stood on."""
        self._moves_made = 0
        self._dynamics: Dynamics | None = None
        self._solved: Solution | None = None

    def _drawn_lake(self, split: Split, index: int) -> Lake:
        return draw_lake(split, index, self.size, self.frozen_probability, self.corners)

    def _play(self, action: str) -> tuple[float, bool, str]:
        letters = self._lake.letters
        feedback = []
        for move in self._parse(action):
            way = (move + self._turn()) % len(MOVES)
            self._moves_made += 1
            feedback.append(self._go(move, way))
            self._way.append(self._cell)
            letter = letters[self._cell]
            if letter in "GH":
                return float(letter == "G"), True, " ".join(feedback)
        # A budget that ends together with the turns is a truncation, and the turn limit's to declare.
        return 0.0, self.moves_left == 0 and self.turns_left != 0, " ".join(feedback)

    def _parse(self, action: str) -> list[int]:
        """Read the moves of a reply."""
        left = self.moves_left
        if left == 0 or self._lake.letters[self._cell] in "GH":
            raise InvalidAction("the game is over")
        most = self.actions_per_turn if left is None else min(self.actions_per_turn, left)
        words = action.lower().replace(",", " ").split()
        moves = [_NUMBERS.get(word, -1) for word in words]
        if not 1 <= len(words) <= most or -1 in moves:
            legal = ", ".join(MOVES)
            raise InvalidAction(f"write one of {legal}" if most == 1 else f"write 1 to {most} of {legal}")
        return moves

    def _turn(self) -> int:
        """Draw where a move goes: -1 and 1 to its sides, 0 where it points."""
        drawn = self.np_random.random()  # by Gymnasium's lake also where there is one outcome
        if self.deterministic or self._odds[0] <= drawn < self._odds[0] + self._odds[1]:
            return 0
        # Odds that add up to less than 1 by rounding leave the rest to the first side, as Gymnasium does.
        return 1 if self._odds[0] <= drawn < self._odds[0] + self._odds[1] + self._odds[2] else -1

    def _go(self, move: int, way: int) -> str:
        """Go one way and say where that led, which was not where the move pointed if it slipped."""
        lake = self._lake
        sides = lake.sides[self._cell]
        if sides[way] == EDGE:
            return "Blocked by the edge." if sides[move] == EDGE else "Slipped: blocked by the edge."
        self._cell = sides[way]
        how = f"Moved {MOVES[way]}" if way == move else f"Slipped: moved {MOVES[way]}"
        return how + _ENDINGS[lake.letters[self._cell]]

    @property
    def moves_left(self) -> int | None:
        """Moves left of the action budget; None without one."""
        return None if self.action_budget is None else self.action_budget - self._moves_made

    # What the agent reads --------------------------------------------------------------------------------------

    @property
    def _rules(self) -> str:
        moves = ", ".join(MOVES)
        return " ".join(
            (
                f"Cross the frozen lake of {self.size} rows and {self.size} columns to the goal; a hole ends the game.",
                "P is you, _ ice, O a hole, G the goal."
                if self.view == "grid"
                else "Row 1 is the top and column 1 the left.",
                f"The moves are {moves}; a move against the edge stays in place.",
                self._ice_rule,
                *([] if self.action_budget is None else [f"You have {self.action_budget} moves in all."]),
                "Reaching the goal earns 1, anything else 0.",
                "An action is one move."
                if self.actions_per_turn == 1
                else f"An action is 1 to {self.actions_per_turn} moves, separated by spaces or commas.",
            )
        )

    @property
    def _ice_rule(self) -> str:
        if self.deterministic:
            return "The ice is not slippery."
        side = (1 - self.success_rate) / 2
        return (
            f"The ice is slippery: a move goes where it points with probability {self.success_rate:.3g}, "
            f"and to each of its two sides with probability {side:.3g}."
        )

    def _observe(self, feedback: str) -> str:
        lake, cell = self._lake, self._cell
        picture = lake.grid if self.view == "grid" else self._coordinates()
        if self.view == "grid":
            picture = f"{picture[: 2 * cell]}{PLAYER[lake.letters[cell]]}{picture[2 * cell + 1 :]}"
        left, down, right, up = lake.sides[cell]
        words = lake.words  # the last of which, at EDGE, is that of the edge
        before = f"{feedback}\n" if feedback else ""
        after = "" if self.action_budget is None else f"\nMoves left: {self.action_budget - self._moves_made}."
        return (f"{before}{picture}\nAround: left {words[left]}, down {words[down]}, right {words[right]}, "
                f"up {words[up]}.{after}")  # fmt: skip

    def _coordinates(self) -> str:
        lake = self._lake
        holes = "; ".join(lake.place(cell) for cell, letter in enumerate(lake.letters) if letter == "H") or "none"
        return f"You: {lake.place(self._cell)}. Goal: {lake.place(lake.goal)}. Holes: {holes}."

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def instance_key(self) -> str:
        """The map with its start and goal, rows joined by slashes."""
        return self._lake.key

    @property
    def _state(self) -> str:
        return f"{self._cell},{self.moves_left}"

    @property
    def _success(self) -> bool:
        return self._lake.letters[self._cell] == "G"

    @property
    def _potential(self) -> float:
        return self._lake.potentials[self._cell]

    def drawing(self) -> Drawing:
        """Draw the lake and the way walked so far."""
        return lake_drawing(self.rows, self._way)

    # As text ----------------------------------------------------------------------------------------------------

    @property
    def instance_form(self) -> str:
        """What a lake is and how it is written."""
        where = "P is in the top left corner, G in the bottom right one, and there" if self.corners else "There"
        ice = [*"_" * self.size]
        example = "\n".join(map(" ".join, [["P", *ice[2:], "O"], *[ice] * (self.size - 2), [*ice[1:], "G"]]))
        return (f"A lake is a picture of {self.size} rows of {self.size} cells: P where the player begins, _ for ice, "
                f"O for a hole, G for the goal, with one P and one G. {where} is a way over ice from P to G. "
                f"It is written such as:\n{example}")  # fmt: skip

    def written_instance(self) -> str:
        """Return the present lake as its picture, with the player at the start."""
        return written(self._lake)

    def read_instance(self, text: str) -> Written:
        """Return split and index of the lake that a picture shows.

        Raises:
            InvalidInstance: It shows no lake of this size, or one without a way.
        """
        return read_lake(text, self.size, self.corners)

    # Agents ----------------------------------------------------------------------------------------------------

    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw a full reply of uniformly random moves."""
        most = self.actions_per_turn if self.moves_left is None else min(self.actions_per_turn, self.moves_left)
        return " ".join(MOVES[move] for move in rng.integers(len(MOVES), size=max(1, most)))

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Draw one uniformly random move."""
        return MOVES[rng.integers(len(MOVES))]

    def oracle_action(self) -> str:
        """Return the optimal move, or as many of the plan as a reply holds where looking in between gains nothing."""
        solution = self._solution
        left = self._horizon(self.turns_left, self.moves_left)
        left = solution.horizon if left is None else left
        look = not self.deterministic and not self._hurried(self.turns_left, self.moves_left)
        length = min(1 if look else self.actions_per_turn, left)
        plan: list[int] = []
        cell = self._cell
        while len(plan) < length and self._lake.letters[cell] not in "GH":
            plan.append(int(solution.policy_HS[left - len(plan), cell]))
            cell = int(self._arrays.transitions_SAN[cell, plan[-1]].argmax())
        return " ".join(MOVES[move] for move in plan or [0])

    def optimal_success(self) -> float | None:
        """Probability that the best agent reaches the goal from the start, None where it cannot be computed."""
        unseen = not self.deterministic and self._hurried(self.turn_limit, self.action_budget)
        if unseen or self._horizon(self.turn_limit, self.action_budget) is None:
            return None
        return float(self._solution.values_HS[-1, self._lake.start])

    def random_success(self) -> float | None:
        """Probability that the random agent reaches the goal from the start, None without any limit."""
        horizon = self._horizon(self.turn_limit, self.action_budget)
        return None if horizon is None else float(random_values(self._arrays, horizon)[self._lake.start])

    def _horizon(self, turns: int | None, moves: int | None) -> int | None:
        """Return how many moves can still be made with these turns and moves left."""
        bounds = [moves] if turns is None else [turns * self.actions_per_turn, moves]
        return min((bound for bound in bounds if bound is not None), default=None)

    def _hurried(self, turns: int | None, moves: int | None) -> bool:
        """Whether making all moves takes replies of several, whose later moves are made unseen."""
        return self.actions_per_turn > 1 and turns is not None and (moves is None or turns < moves)

    @property
    def _arrays(self) -> Dynamics:
        if self._dynamics is None:
            self._dynamics = Dynamics.from_table(transition_table(self.rows, self.success_rate))
        return self._dynamics

    @property
    def _solution(self) -> Solution:
        """The best play from a whole episode's moves downwards; without any limit, from enough to go anywhere."""
        horizon = self._horizon(self.turn_limit, self.action_budget) or 4 * self.size**2
        if self._solved is None or self._solved.horizon != horizon:
            self._solved = solve(self._arrays, horizon)
        return self._solved
