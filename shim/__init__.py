"""The shim: turns authenticated requests into Docker operations on one droplet, and remembers no container."""

__version__ = "1.0.0"
