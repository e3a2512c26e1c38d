"""The games in verl: an agent loop that plays one over several turns. No training of verl's was run with it.

Rows are written by `turngym.integrations.verl_rows`, and verl is told of the loop by a file `games.yaml`:

    - name: turngym
      _target_: turngym.integrations.verl.GameLoop

    python -m verl.trainer.main_ppo data.train_files=train.jsonl data.val_files=test.jsonl \
        actor_rollout_ref.rollout.agent.agent_loop_config_path=games.yaml ...

What is trained on is what the server sampled, id by id; what the game says is masked. The return is the reward of the
episode, `turn_scores` has that of every turn, and success is a metric of validation. An episode ends with the game or
where `rollout.response_length` is full; a reply that this cuts is not played. A game that fails stops the training,
since verl leaves no episode out of its group. Written for verl 0.9.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.utils.profiler import simple_timer

from turngym.agents import Instance
from turngym.agents.hosting import Opening
from turngym.envs.parsing import without_thoughts
from turngym.integrations.session import GameSession


class GameLoop(AgentLoopBase):
    """Plays the instance that a row names; every episode has chance of its own."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """Play one episode; `row` holds the columns of `verl_rows`."""
        named = row["extra_info"]
        session = GameSession(named["env"], json.loads(named["env_kwargs"]))
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        instance = Instance(split=named["split"], index=int(named["index"]), seed=seed)
        try:
            opening = await asyncio.to_thread(session.begin, instance)
            return await self._play(session, opening, {"sampling_params": sampling_params, "priority": int(priority)})
        finally:
            await asyncio.to_thread(session.close)

    async def _play(self, session: GameSession, opening: Opening, asked: dict[str, Any]) -> AgentLoopOutput:
        messages = [{"role": "system", "content": opening.instructions}] if opening.instructions else []
        messages.append({"role": "user", "content": opening.observation})
        ids = await self.ct_build_initial_tokens(messages)
        start, limit, request = len(ids), self.rollout_config.response_length, uuid4().hex
        mask, logprobs, timing = list[int](), list[float](), dict[str, float]()
        while len(mask) < limit:
            with simple_timer("generate_sequences", timing):
                said = await self.server_manager.generate(request_id=request, prompt_ids=ids, **asked)
            new = said.log_probs or None
            known = (logprobs if mask else []) if new else None
            merged, mask, logprobs = await self.ct_merge_assistant_token(ids, said.token_ids, mask, known, new)
            ids = merged.token_ids
            if len(mask) > limit:
                break
            reply = without_thoughts(self.tokenizer.decode(said.token_ids, skip_special_tokens=True))
            outcome = await asyncio.to_thread(session.play, reply)
            if session.over:
                break
            messages.append({"role": "assistant", "content": reply})
            longer = [*messages, {"role": "user", "content": outcome.observation}]
            merged, mask, logprobs = await self.ct_merge_context_msg(messages, longer, ids, mask, logprobs)
            ids, messages = merged.token_ids, longer
        more = {"turn_scores": session.turn_rewards, "tool_rewards": [],
                "reward_extra_info": {"success": float(session.success)}}  # fmt: skip
        return AgentLoopOutput(
            prompt_ids=ids[:start], response_ids=ids[start:][:limit], response_mask=mask[:limit],
            response_logprobs=logprobs[:limit] if logprobs else None, metrics=timing, extra_fields=more,
            reward_score=sum(session.turn_rewards), num_turns=len(messages) + 1,
        )  # fmt: skip
