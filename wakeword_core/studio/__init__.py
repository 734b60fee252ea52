"""Where people record their own wake word: what they are asked to say, whether it came through, where it is kept."""
