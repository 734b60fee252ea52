"""The judge: a second model, on a frozen embedding of speech, that is asked where the first one hears a wake word."""
