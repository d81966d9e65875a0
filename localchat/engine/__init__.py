"""The engine: llama.cpp in a child process, spoken to in events."""
