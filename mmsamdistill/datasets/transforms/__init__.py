"""Transforms of pipelines, registered in MMagic's registry."""
