"""Which of a project's models is champion: its history, the trial of a new one against it, and the gate between."""
