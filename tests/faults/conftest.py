"""The tests' own world, for those that break real parts."""

from tests.e2e.conftest import api, droplet, image, name, of, tools

__all__ = ["api", "droplet", "image", "name", "of", "tools"]
