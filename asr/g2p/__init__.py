"""Grapheme to phoneme: pronunciations of words that no dictionary has."""

from asr.g2p.model import G2p, G2pConfig, load_g2p, read_g2p_config, save_g2p
from asr.g2p.search import nbest, plain, pronounce

__all__ = ["G2p", "G2pConfig", "load_g2p", "nbest", "plain", "pronounce", "read_g2p_config", "save_g2p"]
