"""FrozenLake in words: Gymnasium's own lake, told as text and played in text."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Literal

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text import frozen_lake
from numpy.typing import NDArray

from turngym.arguments import Count, PositiveShare, Range, Share, checked_arguments
from turngym.envs.core import TextEnv
from turngym.envs.drawing import Drawing
from turngym.envs.frozen_lake_drawing import draw_lake
from turngym.envs.frozen_lake_values import Dynamics, Solution, Table, random_values, solve
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import MAX_DRAWS, Split, draw_instance

View = Literal["grid", "coordinates"]
Rows = tuple[str, ...]
"""A lake as Gymnasium writes it: S start, F ice, H hole, G goal."""

MOVES = ("left", "down", "right", "up")
"""The words for Gymnasium's actions 0 to 3."""
OFFSETS = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""Where each move points, in rows and columns."""
GLYPHS = {"S": "_", "F": "_", "H": "O", "G": "G"}
WORDS = {"S": "ice", "F": "ice", "H": "hole", "G": "goal"}
Size = Annotated[int, Range(low=2, high=16)]
"""Rows and columns of a lake."""


class FrozenLakeEnv(TextEnv):
    """Cross a frozen lake to the goal without falling into a hole.

    ## Description
    Text around Gymnasium's `FrozenLakeEnv`: its transition table is the game. Every instance is another lake with a
    way from start to goal. On slippery ice a move may go to either side of where it was meant to.

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

    # The game ---------------------------------------------------------------------------------------------------

    def _begin(self, split: Split, index: int) -> None:
        self.rows: Rows = draw_instance(split, index, self._draw, "/".join)
        lake = gymnasium_lake(self.rows, self.success_rate)
        self._table: Table = lake.P
        self._game: gym.Env[int, int] = lake
        self._game.np_random = self.np_random
        self._cell, _ = self._game.reset()
        self._start = self._cell
        self._way = [self._cell]
        """The cells that were stood on."""
        self._moves_made = 0
        self._dynamics: Dynamics | None = None
        self._solved: Solution | None = None
        self._potential_S = potentials(self.rows)

    def _draw(self, rng: np.random.Generator) -> Rows:
        """Draw a lake with a way from start to goal."""
        cells = self.size**2
        for _ in range(MAX_DRAWS):
            ice = rng.random((self.size, self.size)) < self.frozen_probability
            start, goal = (0, cells - 1) if self.corners else rng.choice(cells, size=2, replace=False).tolist()
            ice.flat[[start, goal]] = True
            if start in ice_distances(ice, goal):
                letters = np.where(ice, "F", "H")
                letters.flat[start], letters.flat[goal] = "S", "G"
                return tuple("".join(row) for row in letters)
        raise ValueError(f"no lake with a way in {MAX_DRAWS} draws; raise frozen_probability or lower size")

    def _play(self, action: str) -> tuple[float, bool, str]:
        moves = self._parse(action)
        feedback = []
        for move in moves:
            before = self._cell
            self._cell, reward, ended, _, _ = self._game.step(move)
            self._moves_made += 1
            self._way.append(self._cell)
            feedback.append(self._tell(before, move))
            if ended:
                return float(reward), True, " ".join(feedback)
        # A budget that ends together with the turns is a truncation, and the turn limit's to declare.
        return 0.0, self.moves_left == 0 and self.turns_left != 0, " ".join(feedback)

    def _parse(self, action: str) -> list[int]:
        """Read the moves of a reply."""
        if self.moves_left == 0 or self._letter(self._cell) in "GH":
            raise InvalidAction("the game is over")
        most = self.actions_per_turn if self.moves_left is None else min(self.actions_per_turn, self.moves_left)
        words = action.lower().replace(",", " ").split()
        if not 1 <= len(words) <= most or any(word not in MOVES for word in words):
            legal = ", ".join(MOVES)
            raise InvalidAction(f"write one of {legal}" if most == 1 else f"write 1 to {most} of {legal}")
        return [MOVES.index(word) for word in words]

    def _tell(self, before: int, move: int) -> str:
        """Say where a move led."""
        letter = self._letter(self._cell)
        if self._cell == before:
            at_edge = self._neighbor(before, move) is None
            return "Blocked by the edge." if at_edge else "Slipped: blocked by the edge."
        went = next(other for other in range(len(MOVES)) if self._neighbor(before, other) == self._cell)
        how = f"Moved {MOVES[went]}" if went == move else f"Slipped: moved {MOVES[went]}"
        end = {"H": " and fell into a hole.", "G": " and reached the goal."}.get(letter, ".")
        return how + end

    def _neighbor(self, cell: int, move: int) -> int | None:
        """Return the cell that a move points at, None beyond the edge."""
        row, column = (sum(pair) for pair in zip(divmod(cell, self.size), OFFSETS[move], strict=True))
        inside = 0 <= row < self.size and 0 <= column < self.size
        return row * self.size + column if inside else None

    def _letter(self, cell: int) -> str:
        row, column = divmod(cell, self.size)
        return self.rows[row][column]

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
        around = ", ".join(f"{word} {self._describe(move)}" for move, word in enumerate(MOVES))
        lines = [self._grid() if self.view == "grid" else self._coordinates(), f"Around: {around}."]
        if feedback:
            lines.insert(0, feedback)
        if self.moves_left is not None:
            lines.append(f"Moves left: {self.moves_left}.")
        return "\n".join(lines)

    def _describe(self, move: int) -> str:
        neighbor = self._neighbor(self._cell, move)
        return "edge" if neighbor is None else WORDS[self._letter(neighbor)]

    def _grid(self) -> str:
        glyphs = [[GLYPHS[letter] for letter in row] for row in self.rows]
        row, column = divmod(self._cell, self.size)
        glyphs[row][column] = {"H": "X", "G": "*"}.get(self.rows[row][column], "P")
        return "\n".join(" ".join(line) for line in glyphs)

    def _coordinates(self) -> str:
        letters = "".join(self.rows)
        holes = "; ".join(self._place(cell) for cell, letter in enumerate(letters) if letter == "H") or "none"
        return f"You: {self._place(self._cell)}. Goal: {self._place(letters.index('G'))}. Holes: {holes}."

    def _place(self, cell: int) -> str:
        row, column = divmod(cell, self.size)
        return f"row {row + 1} column {column + 1}"

    # What the suite reads ---------------------------------------------------------------------------------------

    @property
    def instance_key(self) -> str:
        """The map with its start and goal, rows joined by slashes."""
        return "/".join(self.rows)

    @property
    def _state(self) -> str:
        return f"{self._cell},{self.moves_left}"

    @property
    def _success(self) -> bool:
        return self._letter(self._cell) == "G"

    @property
    def _potential(self) -> float:
        return float(self._potential_S[self._cell])

    def drawing(self) -> Drawing:
        """Draw the lake and the way walked so far."""
        return draw_lake(self.rows, self._way)

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
        while len(plan) < length and self._letter(cell) not in "GH":
            plan.append(int(solution.policy_HS[left - len(plan), cell]))
            cell = int(self._arrays.transitions_SAN[cell, plan[-1]].argmax())
        return " ".join(MOVES[move] for move in plan or [0])

    def optimal_success(self) -> float | None:
        """Probability that the best agent reaches the goal from the start, None where it cannot be computed."""
        unseen = not self.deterministic and self._hurried(self.turn_limit, self.action_budget)
        if unseen or self._horizon(self.turn_limit, self.action_budget) is None:
            return None
        return float(self._solution.values_HS[-1, self._start])

    def random_success(self) -> float | None:
        """Probability that the random agent reaches the goal from the start, None without any limit."""
        horizon = self._horizon(self.turn_limit, self.action_budget)
        return None if horizon is None else float(random_values(self._arrays, horizon)[self._start])

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
            self._dynamics = Dynamics.from_table(self._table)
        return self._dynamics

    @property
    def _solution(self) -> Solution:
        """The best play from a whole episode's moves downwards; without any limit, from enough to go anywhere."""
        horizon = self._horizon(self.turn_limit, self.action_budget) or 4 * self.size**2
        if self._solved is None or self._solved.horizon != horizon:
            self._solved = solve(self._arrays, horizon)
        return self._solved


def gymnasium_lake(rows: Rows, success_rate: float) -> frozen_lake.FrozenLakeEnv:
    """Return Gymnasium's lake with these rows and this probability of moving as intended.

    Gymnasium's slippery table lists one side, the intended cell and the other side, a third each. The odds are set
    here because only its later releases take them as an argument.
    """
    lake = frozen_lake.FrozenLakeEnv(desc=list(rows), is_slippery=success_rate < 1)
    if success_rate < 1:
        side = (1 - success_rate) / 2
        odds = (side, success_rate, side)
        for by_move in lake.P.values():
            for move, outcomes in by_move.items():
                if len(outcomes) == len(odds):  # terminal cells have a single outcome
                    by_move[move] = [(p, *outcome[1:]) for p, outcome in zip(odds, outcomes, strict=True)]
    return lake


def potentials(rows: Rows) -> NDArray[np.float64]:
    """Return how far every cell is on the way to the goal, shape (cells,): 1 at the goal, 0 at the farthest cell.

    A hole leads nowhere and has 0 too.
    """
    letters = np.array([list(row) for row in rows])
    distances = ice_distances(letters != "H", int((letters == "G").argmax()))
    farthest = max(distances.values())
    return np.array([1.0 - distances.get(cell, farthest) / farthest for cell in range(letters.size)])


def ice_distances(ice: NDArray[np.bool_], goal: int) -> dict[int, int]:
    """Return the length of the shortest way over ice to `goal` of every cell that has one.

    Args:
        ice: Which cells hold, shape (rows, columns).
        goal: A cell, counted in row order.
    """
    size = ice.shape[1]
    dry = set(np.flatnonzero(ice).tolist())
    distances = {goal: 0}
    waiting = deque([goal])
    while waiting:
        cell = waiting.popleft()
        column = cell % size
        sides = ((cell - size, True), (cell + size, True), (cell - 1, column > 0), (cell + 1, column < size - 1))
        for neighbor, inside in sides:
            if inside and neighbor in dry and neighbor not in distances:
                distances[neighbor] = distances[cell] + 1
                waiting.append(neighbor)
    return distances
