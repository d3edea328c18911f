"""A small application on an authenticated Temporal: the guide's snippets, grown up."""
