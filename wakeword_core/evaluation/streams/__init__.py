"""The test on continuous audio: how it is built, scored and counted, and which thresholds are taken."""
