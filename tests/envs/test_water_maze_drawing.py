"""Pictures: what can be seen in them, and that drawing needs no screen and leaves nothing behind."""

import os
import sys

import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium.error import DependencyNotInstalled

from lsnn_gym.envs import WaterMazeEnv, WaterMazeOptions, WaterMazeVectorEnv, draw_maze
from lsnn_gym.envs import water_maze_drawing as drawing
from lsnn_gym.envs.water_maze_dynamics import Arena

QUICK = WaterMazeOptions(step_size=0.1, max_steps=200)
STILL = np.zeros(2, np.float32)


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert not pygame.display.get_init(), "a window was left behind"


def pixel(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the colour at a place of an arena of size 1, as numbers that may be subtracted."""
    side = len(frame)
    scale = side * (0.5 - drawing._MARGIN)
    return frame[round(side / 2 - y * scale), round(side / 2 + x * scale)].astype(int)


def looks_like(color: np.ndarray, expected: drawing.Color, tolerance: int = 12) -> bool:
    return bool(np.abs(color - np.array(expected)).max() <= tolerance)


def row(x: float, y: float, goal: float = 0, wall: float = 0) -> list[float]:
    return [x, y, goal, wall]


@pytest.mark.parametrize("size", [1, 17, 64, 256, 500, 2049])
@pytest.mark.parametrize("arena", ["disc", "square"])
def test_a_frame_has_the_size_asked_for(size, arena):
    frame = draw_maze(WaterMazeOptions(arena=arena), [0.2, 0.2], [row(0, 0)], size=size)
    assert frame.shape == (size, size, 3)
    assert frame.dtype == np.uint8
    assert frame.flags["C_CONTIGUOUS"]


def test_everything_is_where_it_belongs():
    frame = draw_maze(QUICK, [0.5, 0.4], [row(-0.5, -0.6)])
    assert looks_like(pixel(frame, -0.5, -0.6), drawing.AGENT)
    assert looks_like(pixel(frame, 0.0, -0.5), drawing.WATER)
    assert looks_like(pixel(frame, 0.95, 0.95), drawing.GROUND)
    goal = pixel(frame, 0.5, 0.4)
    assert not looks_like(goal, drawing.WATER)
    assert looks_like(pixel(frame, 0.5, 0.15), tuple(goal))
    assert looks_like(pixel(frame, -0.5, 0.4), drawing.WATER)
    square = draw_maze(WaterMazeOptions(arena="square"), [0.5, 0.4], [row(0, 0)])
    assert looks_like(pixel(square, 0.95, 0.95), drawing.WATER)


def test_the_arena_fills_the_frame_whatever_its_size():
    small = draw_maze(QUICK, [0.5, 0.4], [row(0.1, 0.2)])
    large = WaterMazeOptions(arena_size=10.0, goal_radius=3.0, step_size=1.0)
    np.testing.assert_array_equal(draw_maze(large, [5.0, 4.0], [row(1, 2)]), small)


def test_the_path_fades_with_age_and_breaks_where_the_agent_was_put_back():
    trail = [
        row(-0.8, -0.4),
        row(-0.8, 0.0),
        row(-0.8, 0.4),
        row(0.8, 0.4, goal=1),
        row(0.8, 0.0),
        row(0.8, -0.4),
    ]
    frame = draw_maze(QUICK, [0.0, -0.6], trail, fade_steps=5)
    brightness = [pixel(frame, x, y).sum() for x, y in ((-0.8, -0.2), (-0.8, 0.2), (0.8, 0.2), (0.8, -0.2))]
    water = sum(drawing.WATER)
    assert water - 20 > brightness[0] > brightness[1] > brightness[2] > brightness[3]
    assert looks_like(pixel(frame, 0.0, 0.4), drawing.WATER)  # no line across
    faint = draw_maze(QUICK, [0.0, -0.6], trail * 30, fade_steps=5)
    assert not np.array_equal(faint, frame)


def test_a_reward_flashes_and_fades():
    quiet = [row(-0.6, 0.1)]
    colors = []
    for ago in range(7):
        trail = [*quiet, row(-0.6, 0.1, goal=1), *quiet * ago]
        colors.append(pixel(draw_maze(QUICK, [0.4, 0.4], trail), 0.4, 0.4))
    assert looks_like(colors[0], drawing.REWARD)
    before = pixel(draw_maze(QUICK, [0.4, 0.4], quiet), 0.4, 0.4)
    distances = [np.abs(color - before).sum() for color in colors]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0


def test_the_wall_flashes_where_it_was_hit():
    trail = [row(-0.9, 0.0, wall=1), row(-0.8, 0.0), row(-0.7, 0.0)]
    flash = pixel(draw_maze(QUICK, [0.4, 0.4], trail), -0.95, 0.05)
    assert flash[0] - flash[2] > 20
    later = pixel(draw_maze(QUICK, [0.4, 0.4], trail + [row(-0.5, 0.0)] * 10), -0.95, 0.05)
    assert looks_like(later, drawing.WATER)


def test_the_goal_of_a_probe_is_only_an_outline():
    frame = draw_maze(QUICK, [0.4, 0.4], [row(0, 0)], goal_active=False)
    assert looks_like(pixel(frame, 0.4, 0.4), drawing.WATER)
    rim = [pixel(frame, 0.4 + 0.3 * np.cos(a), 0.4 + 0.3 * np.sin(a)) for a in np.linspace(0, 6.28, 100)]
    assert sum(not looks_like(color, drawing.WATER) for color in rim) > 30


@pytest.mark.parametrize(
    ("goal", "trail", "size", "message"),
    [
        ([0, 0], [], 64, r"trail must have the shape \(k, 4\) with k of at least 1, not \(0,\)"),
        ([0, 0], [[0, 0]], 64, r"trail must have the shape \(k, 4\) with k of at least 1, not \(1, 2\)"),
        ([0, 0, 0], [row(0, 0)], 64, r"goal must have the shape \(2,\), not \(3,\)"),
        ([0, 0], [row(0, 0)], 9999, "render_size must be a whole number from 1 to 8192, not 9999"),
        ([0, 0], [row(0, 0)], 64.0, "render_size must be a whole number from 1 to 8192, not 64.0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(goal, trail, size, message):
    with pytest.raises(ValueError, match=message):
        draw_maze(QUICK, goal, trail, size=size)


def test_without_pygame_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = WaterMazeEnv(render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(DependencyNotInstalled, match=r'needs pygame: pip install "lsnn-gym\[render\]"'):
        env.render()


def test_the_environment_draws_its_own_episode():
    env = WaterMazeEnv(render_mode="rgb_array", step_size=0.1, render_size=200)
    observations = [env.reset(seed=1, options={"goal": [0.5, 0.5]})[0]]
    rng = np.random.default_rng(0)
    observations += [env.step(rng.uniform(-1, 1, 2))[0] for _ in range(30)]
    frame = env.render()
    np.testing.assert_array_equal(frame, draw_maze(env.options, [0.5, 0.5], observations, size=200))
    np.testing.assert_array_equal(env.render(), frame)  # looking changes nothing
    observations = [env.reset(options={"goal": [0.5, 0.5]})[0]]  # the former path is gone
    np.testing.assert_array_equal(env.render(), draw_maze(env.options, [0.5, 0.5], observations, size=200))
    env.reset(options={"probe": True, "probe_from": 1, "goal": [0.5, 0.5]})
    silent = []
    for _ in range(3):
        silent.append(looks_like(pixel(env.render(), 0.5, 0.5), drawing.WATER))
        env.step(STILL)
    env.close()
    assert silent == [False, False, True]


def test_every_lane_is_drawn_from_its_own_start():
    env = WaterMazeVectorEnv(3, "rgb_array", step_size=0.1, max_steps=6, render_size=80)
    singles = [WaterMazeEnv("rgb_array", step_size=0.1, max_steps=6, render_size=80) for _ in range(3)]
    env.reset(seed=0)
    for lane, single in enumerate(singles):
        single.reset(seed=lane)
    rng = np.random.default_rng(0)
    over = [False] * 3
    for step in range(20):
        actions = rng.uniform(-1, 1, (3, 2))
        env.step(actions)
        for lane, single in enumerate(singles):
            if over[lane]:
                single.reset()
                over[lane] = False
            else:
                over[lane] = single.step(actions[lane])[3]
        if step in (2, 9):
            env.reset(options={"reset_mask": np.array([True, False, step == 9])})
            for lane in (0, 2)[: 1 + (step == 9)]:
                singles[lane].reset()
                over[lane] = False
        frames = env.render()
        assert frames is not None
        for frame, single in zip(frames, singles, strict=True):
            np.testing.assert_array_equal(frame, single.render())


def test_environments_draw_side_by_side():
    arenas: list[tuple[int, Arena]] = [(40, "disc"), (60, "square")]
    envs = [WaterMazeEnv("rgb_array", render_size=size, arena=arena) for size, arena in arenas]
    goals = ([0.5, 0.5], [-0.5, -0.5])
    for env, goal in zip(envs, goals, strict=True):
        env.reset(seed=0, options={"goal": goal, "position": [0.0, 0.0]})
    alone = [env.render() for env in envs]
    for _ in range(2):
        for env, frame in zip(envs, alone, strict=True):
            np.testing.assert_array_equal(env.render(), frame)
    envs[0].close()
    np.testing.assert_array_equal(envs[1].render(), alone[1])


def test_windows_are_shared_and_the_last_one_out_closes_them():
    first, second = (WaterMazeEnv("human", render_size=size) for size in (40, 60))
    first.reset(seed=0)
    second.reset(seed=0)
    assert first.render() is None
    assert pygame.display.get_driver() == "dummy"
    assert pygame.display.get_window_size() == (60, 60)
    first.close()
    assert pygame.display.get_init()
    second.step(STILL)
    second.close()
    assert not pygame.display.get_init()
    second.close()
    assert "SDL_VIDEODRIVER" not in os.environ
    second.reset()  # and open again
    second.close()
    # Frames drawn off screen outlive the display.
    assert draw_maze(QUICK, [0, 0], [row(0, 0)], size=40).any()


def test_a_window_shows_the_frame():
    env = WaterMazeEnv("human", render_size=64)
    observation, info = env.reset(seed=0)
    screen = pygame.display.get_surface()
    assert screen is not None
    shown = pygame.surfarray.array3d(screen).swapaxes(0, 1)
    np.testing.assert_array_equal(shown, draw_maze(env.options, info["goal"], [observation], size=64))
    env.close()


def test_a_display_that_somebody_else_opened_stays_open(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    env = WaterMazeEnv("human", render_size=40)
    env.reset(seed=0)
    env.close()
    try:
        assert pygame.display.get_init()
    finally:
        pygame.display.quit()


def test_rendering_without_a_mode_or_a_start_is_told():
    with pytest.warns(UserWarning, match="nothing to render"):
        assert WaterMazeEnv().render() is None
    assert WaterMazeVectorEnv(2).render() is None
    for env in (WaterMazeEnv("rgb_array"), WaterMazeVectorEnv(2, "rgb_array")):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) before render\(\)"):
            env.render()
