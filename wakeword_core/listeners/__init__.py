"""Models of any kind, of this project and of others, that hear the same sound, and what each of them makes of it."""
