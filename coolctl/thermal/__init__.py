"""The controller's plant model: plain equations over floats, no clock, no input or output."""
