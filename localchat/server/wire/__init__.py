"""What travels: requests as they come in and answers as they go out, one protocol a file, as pure functions."""
