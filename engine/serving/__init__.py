"""Serving: answers of a trained model for programs, over HTTP as OpenAI's API has it, many simultaneously."""
