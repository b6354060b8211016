"""The rules of the maze: against an obvious slow form, and by their geometry."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lsnn_gym.envs.actions import checked_actions
from lsnn_gym.envs.water_maze_dynamics import (
    WaterMazeOptions,
    checked_points,
    contains,
    draw_point,
    move,
    transition,
    within,
)
from lsnn_gym.envs.water_maze_lanes import quadrants

mazes = st.builds(
    WaterMazeOptions,
    arena=st.sampled_from(["disc", "square"]),
    arena_size=st.sampled_from([1.0, 0.7, 3.3]),
    goal_radius=st.just(0.3),
    step_size=st.sampled_from([0.02, 0.1, 0.5, 9.0]),
)
components = st.floats(-3, 3, allow_subnormal=False)
actions = st.tuples(components, components)
seeds = st.integers(0, 2**32 - 1)


def is_inside(maze: WaterMazeOptions, x: float, y: float) -> bool:
    if maze.arena == "disc":
        return math.hypot(x, y) <= maze.arena_size
    return max(abs(x), abs(y)) <= maze.arena_size


def slow_move(maze: WaterMazeOptions, start: tuple[float, float], action: tuple[float, float]):
    """Move one agent; the border is found by halving the way to it until nothing is left to halve."""
    length = math.hypot(*action)
    scale = maze.step_size / length if length > 1 else maze.step_size
    dx, dy = action[0] * scale, action[1] * scale
    if is_inside(maze, start[0] + dx, start[1] + dy):
        return (start[0] + dx, start[1] + dy), False
    inside, outside = 0.0, 1.0
    for _ in range(200):
        middle = (inside + outside) / 2
        if is_inside(maze, start[0] + middle * dx, start[1] + middle * dy):
            inside = middle
        else:
            outside = middle
    return (start[0] + inside * dx, start[1] + inside * dy), True


def one(pair: tuple[float, float]) -> np.ndarray:
    return np.array([pair], dtype=np.float64)


@given(mazes, seeds, actions)
def test_a_move_equals_the_slow_form(maze, seed, action):
    start = draw_point(maze, np.random.default_rng(seed))
    expected, expected_wall = slow_move(maze, start, action)
    end, wall = move(maze, one(start), one(action))
    assert end[0] == pytest.approx(expected, abs=1e-9)
    assert bool(wall[0]) == expected_wall


@given(mazes, seeds, st.lists(actions, min_size=1, max_size=60))
def test_nobody_ever_leaves_the_arena(maze, seed, path):
    position = one(draw_point(maze, np.random.default_rng(seed)))
    for action in path:
        position, wall = move(maze, position, one(action))
        assert contains(maze, position).all()
        assert np.abs(position).max() <= maze.arena_size
        if wall[0]:
            distance = np.hypot(*position[0]) if maze.arena == "disc" else np.abs(position[0]).max()
            assert distance == pytest.approx(maze.arena_size, rel=1e-14)


@given(mazes, seeds, st.floats(0, 2 * math.pi), st.floats(0, 1e6))
def test_no_step_is_longer_than_step_size(maze, seed, angle, length):
    start = one(draw_point(maze, np.random.default_rng(seed)))
    end, wall = move(maze, start, one((length * math.cos(angle), length * math.sin(angle))))
    covered = float(np.hypot(*(end - start)[0]))
    assert covered <= maze.step_size * (1 + 1e-12) + 1e-12
    if not wall[0]:
        assert covered == pytest.approx(maze.step_size * min(length, 1.0), abs=1e-12)


@given(mazes, seeds, actions)
def test_the_wall_is_met_on_the_way(maze, seed, action):
    """The end lies on the straight line from the start along the action, forwards."""
    assume(math.hypot(*action) > 1e-3)
    start = one(draw_point(maze, np.random.default_rng(seed)))
    end, _ = move(maze, start, one(action))
    (dx, dy), (ax, ay) = (end - start)[0], action
    assert dx * ay - dy * ax == pytest.approx(0.0, abs=1e-9)
    assert dx * ax + dy * ay >= -1e-9


@pytest.mark.parametrize("arena", ["disc", "square"])
def test_standing_at_the_border_is_no_push_and_pushing_is_one(arena):
    maze = WaterMazeOptions(arena=arena, arena_size=0.7)
    angles = np.linspace(0, 2 * np.pi, 500)
    outwards = np.stack([np.cos(angles), np.sin(angles)], 1)
    border = np.zeros((500, 2))
    for _ in range(200):
        border, _ = move(maze, border, outwards)
    still, wall = move(maze, border, np.zeros((500, 2)))
    assert not wall.any()
    np.testing.assert_array_equal(still, border)
    _, wall = move(maze, border, outwards)
    assert wall.all()
    inwards, wall = move(maze, border, -outwards)
    assert not wall.any()
    assert contains(maze, inwards).all()


def test_a_move_along_a_straight_wall_is_free_and_one_around_the_corner_is_not():
    maze = WaterMazeOptions(arena="square", step_size=0.5)
    end, wall = move(maze, one((0.0, 1.0)), one((1.0, 0.0)))
    np.testing.assert_array_equal(end, [[0.5, 1.0]])
    assert not wall[0]
    end, wall = move(maze, one((0.75, 0.0)), one((1.0, 0.0)))
    np.testing.assert_array_equal(end, [[1.0, 0.0]])
    assert wall[0]


def test_a_move_tangential_to_a_round_wall_stays_where_it_is():
    maze = WaterMazeOptions()
    end, wall = move(maze, one((1.0, 0.0)), one((0.0, 1.0)))
    assert wall[0]
    np.testing.assert_allclose(end, [[1.0, 0.0]], atol=1e-12)


def test_goal_and_wall_may_come_together():
    maze = WaterMazeOptions(step_size=0.1)
    step = transition(maze, one((0.95, 0.0)), one((0.8, 0.0)), one((1.0, 0.0)))
    assert step.at_goal[0]
    assert step.hit_wall[0]


def test_the_goal_includes_its_rim():
    points = np.array([[0.25, 0.0], [np.nextafter(0.25, 1.0), 0.0]])
    assert within(points, np.zeros((2, 2)), 0.25).tolist() == [True, False]


def test_many_lanes_do_what_each_does_alone():
    rng = np.random.default_rng(0)
    for arena in ("disc", "square"):
        maze = WaterMazeOptions(arena=arena, step_size=0.3)
        start = np.array([draw_point(maze, rng) for _ in range(257)])
        goal = np.array([draw_point(maze, rng) for _ in range(257)])
        action = rng.normal(0, 1, (257, 2))
        together = transition(maze, start, goal, action)
        assert together.hit_wall.any()
        assert together.at_goal.any()
        for lane in range(257):
            rows = slice(lane, lane + 1)
            for batched, alone in zip(
                together, transition(maze, start[rows], goal[rows], action[rows]), strict=True
            ):
                np.testing.assert_array_equal(batched[rows], alone)


@pytest.mark.parametrize("arena", ["disc", "square"])
def test_points_are_drawn_uniformly_with_two_numbers_each(arena):
    maze = WaterMazeOptions(arena=arena, arena_size=2.0)
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    points = np.array([draw_point(maze, rng) for _ in range(20_000)])
    twin.random(40_000)
    assert rng.bit_generator.state == twin.bit_generator.state
    assert contains(maze, points).all()
    # Equal areas hold equal shares: four quadrants, and an inner part of a quarter of the area.
    quadrant = (points[:, 0] > 0) * 2 + (points[:, 1] > 0)
    np.testing.assert_allclose(np.bincount(quadrant) / 20_000, 0.25, atol=0.012)
    inner = np.hypot(*points.T) if arena == "disc" else np.abs(points).max(axis=1)
    assert (inner < 1.0).mean() == pytest.approx(0.25, abs=0.012)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arena": "disk"}, r"arena must be one of 'disc', 'square', not 'disk' \(did you mean 'disc'\?\)"),
        ({"arena": 3}, "arena must be one of 'disc', 'square', not 3"),
        ({"arena_size": 0}, "arena_size must be greater than 0, not 0.0"),
        ({"goal_radius": -0.3}, "goal_radius must be greater than 0, not -0.3"),
        ({"goal_radius": 1.5}, r"goal_radius must be at most arena_size \(1.0\), not 1.5"),
        ({"step_size": float("nan")}, "step_size must be a finite number, not nan"),
        ({"step_size": "0.1"}, "step_size must be a finite number, not '0.1'"),
        ({"goal_reward": float("inf")}, "goal_reward must be a finite number, not inf"),
        ({"wall_reward": None}, "wall_reward must be a finite number, not None"),
        ({"wall_reward": True}, "wall_reward must be a finite number, not True"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, not 0"),
        ({"max_steps": 10.0}, "max_steps must be a whole number of at least 1, not 10.0"),
        ({"max_steps": True}, "max_steps must be a whole number of at least 1, not True"),
    ],
)
def test_options_of_no_use_are_refused_by_name(given: dict[str, Any], message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        WaterMazeOptions(**given)


def test_options_take_numpy_numbers_and_keep_plain_ones():
    maze = WaterMazeOptions(step_size=np.float32(0.5), max_steps=np.int64(7))  # pyright: ignore[reportArgumentType]
    assert type(maze.step_size) is float
    assert type(maze.max_steps) is int
    assert WaterMazeOptions(**maze.as_dict()) == maze


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([1.0, float("nan")], "an action must be finite, not [1.0, nan]"),
        ([float("-inf"), 0.0], "an action must be finite, not [-inf, 0.0]"),
        ([1e200, 0.0], "an action must be finite, not [1e+200, 0.0]"),
        ([1.0], "an action must have the shape (2,), not (1,)"),
        ([[1.0, 2.0]], "an action must have the shape (2,), not (1, 2)"),
        ("up", "an action must be numbers of shape (2,), not 'up'"),
        (None, "an action must be numbers of shape (2,), not None"),
    ],
)
def test_actions_of_no_use_are_refused(action, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        checked_actions(action, (2,))
    assert str(caught.value) == message


def test_an_action_that_is_not_used_may_be_anything():
    given_actions = [[1.0, 0.5], [float("nan"), 0.0]]
    checked = checked_actions(given_actions, (2, 2), unused=np.array([False, True]))
    np.testing.assert_array_equal(checked, [[1.0, 0.5], [0.0, 0.0]])


def test_points_at_the_border_are_accepted_despite_rounding_and_lie_inside():
    maze = WaterMazeOptions()
    angles = np.linspace(0, 2 * np.pi, 1000)
    points = checked_points("goal", np.stack([np.cos(angles), np.sin(angles)], 1), maze, 1000)
    assert contains(maze, points).all()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ([0.8, 0.8], "goal must lie inside the disc of size 1.0, not [0.8, 0.8]"),
        ([float("nan"), 0.0], "goal must lie inside the disc of size 1.0, not [nan, 0.0]"),
        ([1e300, 0.0], "goal must lie inside the disc of size 1.0, not [1e+300, 0.0]"),
        ([0.0, 0.0, 0.0], "goal must have the shape (2,) or (4, 2), not (3,)"),
        ("here", "goal must be two numbers, not 'here'"),
    ],
)
def test_points_of_no_use_are_refused(point, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        checked_points("goal", point, WaterMazeOptions(), 4)
    assert str(caught.value) == message


@given(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi), st.floats(0.01, 1), st.floats(0.01, 1))
def test_quadrants_are_counted_from_the_goals_direction_leftwards(goal_angle, angle, goal_radius, radius):
    relative = (angle - goal_angle) % (2 * math.pi)
    turns = (relative + math.pi / 4) / (math.pi / 2)
    assume(abs(turns - round(turns)) > 1e-6)  # not on the line between two
    goal = one((goal_radius * math.cos(goal_angle), goal_radius * math.sin(goal_angle)))
    point = one((radius * math.cos(angle), radius * math.sin(angle)))
    assert quadrants(point, goal)[0] == int(turns) % 4


def test_a_goal_at_the_very_centre_has_the_direction_of_x():
    points = np.array([[1.0, 0.1], [0.1, 1.0], [-1.0, 0.1], [0.1, -1.0], [0.0, 0.0]])
    assert quadrants(points, np.zeros((5, 2))).tolist() == [0, 1, 2, 3, 0]
