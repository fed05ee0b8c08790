"""What a robot of these tests says of itself."""

from __future__ import annotations

from edge_wam.telemetry import Plan
from edge_wam.types import JOINTS

PLAN = Plan(
    "a-model",
    50.0,
    1 / 30,
    JOINTS,
    (-1.0,) * 6,
    (1.0,) * 6,
    (("front", 12, 16), ("wrist", 8, 10)),
    (2, 3, 4),
    (0.2, 0.4, 0.6),
    {"pick red": "pick up the red cube", "go home": "回家"},
    (8, 8),
)
