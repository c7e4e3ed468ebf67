"""The messages of the contract under one name: how they are read and written, what is asked, and what is answered."""

from shim.answers import *  # noqa: F403
from shim.bodies import *  # noqa: F403
from shim.message import Malformed as Malformed
from shim.message import Message as Message
from shim.message import dump as dump
from shim.message import read as read
from shim.message import text as text
