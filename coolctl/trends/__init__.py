"""Trend logs in and out: what a building management system exports becomes a recording, and a recording becomes files."""
