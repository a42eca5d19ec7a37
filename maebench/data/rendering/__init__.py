"""A ray caster for generated scenes."""
