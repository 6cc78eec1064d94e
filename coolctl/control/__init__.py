"""What happens within a tick. Told the time, returns reasons; imports no clock, socket or inference engine."""
