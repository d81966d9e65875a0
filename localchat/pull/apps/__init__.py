"""Where other apps keep their model files, one module for each app."""
