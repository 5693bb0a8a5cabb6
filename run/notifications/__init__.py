"""Telling people: what a mail says, and how it is sent."""
