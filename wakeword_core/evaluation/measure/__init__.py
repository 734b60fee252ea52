"""What figures are: metrics of windows, their intervals, calibration, and how they are drawn and written."""
