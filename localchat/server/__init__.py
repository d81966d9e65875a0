"""The local server: OpenAI's and Anthropic's protocols over the one engine below."""
