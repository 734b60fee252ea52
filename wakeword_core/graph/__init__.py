"""The top floor: the stages of a build, what each depends on, and where each of them stands."""
