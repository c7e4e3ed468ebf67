from tests.lifecycle.toolbox.conftest import world

__all__ = ["world"]
