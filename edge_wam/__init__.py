"""edge_wam: a World Action Model on the robot itself."""

__version__ = "0.1.0"
