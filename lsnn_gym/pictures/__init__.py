"""Still pictures of what was learned, done and fired.

Drawing needs the extra ``render`` (matplotlib); importing this package does not. No global matplotlib state is
used: functions draw on the Axes they are given, or write a PNG file.
"""

from lsnn_gym.pictures.benchmarks import Line, Measure, dot_chart, growth_chart
from lsnn_gym.pictures.curves import CurveGroup, Panel, comparison_curves, learning_curve, learning_curves
from lsnn_gym.pictures.episodes import episode_picture, group_bounds, spike_raster, trajectory
from lsnn_gym.pictures.regression import (
    ErrorCurve,
    Knowledge,
    RegressionPicture,
    draw_regression_episode,
    error_curves,
)
from lsnn_gym.pictures.sequences import SequencePicture, draw_sequence
from lsnn_gym.pictures.style import BACKGROUND, GOAL_COLOR, GROUP_COLORS, Color
from lsnn_gym.pictures.trade_off import TradePoint, trade_off

__all__ = [
    "BACKGROUND",
    "GOAL_COLOR",
    "GROUP_COLORS",
    "Color",
    "CurveGroup",
    "ErrorCurve",
    "Knowledge",
    "Line",
    "Measure",
    "Panel",
    "RegressionPicture",
    "SequencePicture",
    "TradePoint",
    "comparison_curves",
    "dot_chart",
    "draw_regression_episode",
    "draw_sequence",
    "episode_picture",
    "error_curves",
    "group_bounds",
    "growth_chart",
    "learning_curve",
    "learning_curves",
    "spike_raster",
    "trade_off",
    "trajectory",
]
