"""Corpora to manifests: one module a corpus, and what they share.

``preparation`` holds what every corpus does alike (reading headers in parallel, counting what is wrong,
skipping a tree that has not changed), ``download`` fetches and unpacks archives, ``statistics``
describes a manifest.
"""
