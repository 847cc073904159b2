"""Surfaces of the libraries that users come from, installed as `fastrms.compat`.

Nothing is here yet: each module to come mirrors one library and is built on `fastrms`,
which never imports it.
"""
