"""Gymnasium's own wrappers around every world."""

from itertools import islice

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, RecordEpisodeStatistics, RecordVideo
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

from tests.compare import differ
from tests.interop import SMALL
from tests.play import mixed_actions, play

EPISODES = 6


def episodes(env):
    """Return and length of some episodes, counted by hand, and what the last step told of each."""
    env.action_space.seed(0)
    for seed in range(EPISODES):
        env.reset(seed=seed)
        rewards, over = [], False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            rewards.append(reward)
            over = terminated or truncated
        yield sum(rewards), len(rewards), info


@pytest.mark.parametrize("id", SMALL)
def test_statistics_are_those_counted_by_hand(id):
    env = RecordEpisodeStatistics(gym.make(id, **SMALL[id]))
    for total, length, info in episodes(env):
        assert (info["episode"]["r"], info["episode"]["l"]) == (total, length)
    assert env.episode_count == len(env.return_queue) == EPISODES


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("id", SMALL)
def test_statistics_of_many_worlds_are_those_counted_by_hand(id, mode):
    envs = RecordVectorStatistics(gym.make_vec(id, 4, autoreset_mode=mode, **SMALL[id]))
    envs.reset(seed=0)
    totals, lengths, resting = np.zeros(4), np.zeros(4, int), np.zeros(4, bool)
    counted, told = [], []
    for actions in islice(mixed_actions(envs.unwrapped), 40):
        _, rewards, terminated, truncated, info = envs.step(actions)
        totals, lengths = totals + rewards, lengths + ~resting
        over = terminated | truncated
        if over.any():
            counted += zip(totals[over], lengths[over], strict=True)
            told += zip(info["episode"]["r"][over], info["episode"]["l"][over], strict=True)
        totals[over], lengths[over] = 0, 0
        resting = over & (mode == "NextStep")
    assert counted and told == counted


@pytest.mark.parametrize("id", SMALL)
def test_frames_of_everything_that_is_observed(id):
    plain, env = gym.make(id, **SMALL[id]), FrameStackObservation(gym.make(id, **SMALL[id]), 3)
    single, stacked = play(plain, 12, seed=0), play(env, 12, seed=0)
    assert all(turn[0] in env.observation_space for turn in stacked)
    for index, (turn, own) in enumerate(zip(stacked, single, strict=True)):
        assert not differ({key: value[-1] for key, value in turn[0].items()}, own[0])
        if len(turn) == 5:  # not a reset
            assert not differ({key: value[-2] for key, value in turn[0].items()}, single[index - 1][0])


@pytest.mark.parametrize("id", SMALL)
def test_videos_of_episodes(id, tmp_path):
    folder = tmp_path / "videos"
    env = gym.make(id, render_mode="rgb_array", **SMALL[id])
    with RecordVideo(env, str(folder), episode_trigger=lambda episode: episode in (0, 2)) as recorded:
        lengths = [length for _, length, _ in episodes(recorded)]
    videos = sorted(folder.glob("*.mp4"))
    assert [video.stem.rpartition("-")[2] for video in videos] == ["0", "2"]
    frames = [imageio_ffmpeg.count_frames_and_secs(str(video))[0] for video in videos]
    assert frames == [lengths[0] + 1, lengths[2] + 1]
