"""Language models: n-gram estimation, pruning, ARPA files and the memory-mapped form that decoding reads."""
