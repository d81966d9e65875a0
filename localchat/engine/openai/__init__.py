"""OpenAI's API as other servers speak it: addresses, requests, streams of events, and names of fields."""
