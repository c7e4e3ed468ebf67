"""The messages of the contract under one name: how they are parsed and written, the commands, and the answers."""

from shim.contract.answers import *  # noqa: F403
from shim.contract.bodies import *  # noqa: F403
from shim.contract.message import Malformed as Malformed
from shim.contract.message import Message as Message
from shim.contract.message import dump as dump
from shim.contract.message import read as read
from shim.contract.message import text as text
