"""What is said: texts that sound alike, sentences, and the script of them all."""
