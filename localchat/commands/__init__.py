"""Commands of the command line, a subject a file, what they print beside them."""
