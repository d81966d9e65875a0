"""From a source to an installed model."""
