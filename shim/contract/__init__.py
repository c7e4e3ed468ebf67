"""The contract between the functions and the shim: the one package that both sides import.

It does no input or output and needs, beside the standard library, only what `tokens` signs and verifies with.
"""
