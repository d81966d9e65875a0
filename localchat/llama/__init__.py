"""The border to llama.cpp. Its names and its C types stop here; everything above sees Python values."""
