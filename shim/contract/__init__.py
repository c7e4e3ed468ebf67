"""The contract between the functions and the shim: the one package that both sides import."""
