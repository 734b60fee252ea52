"""`python -m wakeword_pipeline.cli`."""

from wakeword_pipeline.cli.main import main

if __name__ == "__main__":
    main()
