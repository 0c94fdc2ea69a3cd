"""Generated from proto/taffrail/v1."""
