"""Tokenization: conversations and texts to token ids, and which of them are trained."""
