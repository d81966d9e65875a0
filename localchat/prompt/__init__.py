"""From a conversation to the tokens that a model reads, with an account of what is in them."""
