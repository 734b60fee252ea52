"""Recordings made from text, offline: voices, phonetics, sentences, background sound and the whole set of them."""
