"""The shim: translates signed commands into Docker operations on one droplet, and remembers no container."""

__version__ = "2.0.0"
